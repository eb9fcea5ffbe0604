"""nextpnr's packed netlists are read and written."""

import json

from packed_netlists import cell, netlist, register, table

from weft.hw.silicon.placement.packed import Packed

CELLS = {"memory": cell("DP16KD", "X13/Y22/EBR1", DOA0=2, ADA0=5), "inverter": table("3/4/B.K1", 3, 2),
         "held": register("3/4/B.FF1", 5, "DI", 3), "port": cell("TRELLIS_RAMW", "X8/Y9/SLICEC.RAMW", WADO0=6, A0=5)}


def test_cells_places_and_nets():
    found = Packed(netlist(**CELLS))
    assert found.names == list(CELLS) and found.kinds == [one["type"] for one in CELLS.values()]
    assert list(zip(found.x, found.y, found.slot, strict=True)) == [
        (13, 22, None), (3, 4, ("K", 3)), (3, 4, ("FF", 3)), (8, 9, ("RAMW", 2))]
    assert found.driver == {2: (0, "DOA0"), 3: (1, "F"), 5: (2, "Q"), 6: (3, "WADO0")}
    assert found.users[5] == [(0, "ADA0"), (3, "A0")] and found.users[2] == [(1, "A")]


def test_only_places_are_written(tmp_path):
    before, path = netlist(**CELLS), tmp_path / "placed.json"
    found = Packed(json.loads(json.dumps(before)))
    found.x[1], found.slot[1] = 7, ("K", 4)
    found.y[3], found.slot[3] = 2, ("RAMW", 0)
    found.write(path)
    after = json.loads(path.read_text())
    sites = {name: one["attributes"].pop("NEXTPNR_BEL") for name, one in after["modules"]["top"]["cells"].items()}
    assert sites == {"memory": "X13/Y22/EBR1", "inverter": "X7/Y4/SLICEC.K0", "held": "X3/Y4/SLICEB.FF1",
                     "port": "X8/Y2/SLICEA.RAMW"}
    for one in after["modules"]["top"]["cells"].values():
        assert int(one["attributes"].pop("BEL_STRENGTH"), 2) == 6
    for one in before["modules"]["top"]["cells"].values():
        one["attributes"].clear()
    assert after == before
