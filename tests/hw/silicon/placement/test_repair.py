"""What is late in a routed netlist moves, and only that is routed again."""

import json

import pytest
from packed_netlists import netlist, register, table

from weft.hw.silicon.placement import repair
from weft.hw.silicon.placement.packed import Packed

#: A path of two wires by way of a gate, one that shares nothing with it, and their nets.
CELLS = {"first": register("2/2/A.FF0", 2, "M", 9), "gate": table("30/2/D.K1", 3, 2), "last": register("4/2/D.FF0", 4, "M", 3),
         "one": register("2/5/A.FF0", 5, "M", 9), "other": register("3/5/A.FF0", 6, "M", 5)}
NETS = {"a": 2, "b": 3, "c": 5}
BETWEEN = {f"t{x}": table(f"{x}/2/A.K0", 100 + x, 900) for x in range(2, 31)}


def sdf(**wires):
    """``wires``: ps, by the cell where they end."""
    pins = {"gate": "A", "last": "M", "other": "M"}
    lines = [f"(INTERCONNECT x/Q {cell}/{pins[cell]} (1:1:{delay}) (1:1:{delay}))" for cell, delay in wires.items()]
    for cell in ("first", "one"):
        lines += [f"(INSTANCE {cell})", "(IOPATH CLK Q (1:1:500) (1:1:500))"]
    lines += ["(INSTANCE gate)", "(IOPATH A F (1:1:200) (1:1:200))"]
    for cell in ("last", "other"):
        lines += [f"(INSTANCE {cell})", "(SETUPHOLD (posedge M) (posedge CLK) (0:0:0) (0:0:0))"]
    return "\n".join(lines)


@pytest.fixture
def run(tmp_path):
    def run(period_ns, cells=CELLS, **wires):
        routed = netlist(**cells, **BETWEEN)
        routed["modules"]["top"]["netnames"] = {name: {"bits": [bit], "attributes": {"ROUTING": f"wires of {name}"}}
                                                for name, bit in NETS.items()}
        (tmp_path / "turn.json").write_text(json.dumps(routed))
        (tmp_path / "turn.sdf").write_text(sdf(**wires))
        target = tmp_path / "next.json"
        longest, again = repair(tmp_path / "turn.json", tmp_path / "turn.sdf", target, period_ns)
        assert target.is_file() == again
        if not again:
            return longest, None, None
        nets = json.loads(target.read_text())["modules"]["top"]["netnames"]
        return longest, Packed.read(target), {name for name, net in nets.items() if "ROUTING" in net["attributes"]}
    return run


def test_in_time(run):
    assert run(5.0, gate=2000, last=2000, other=3000) == (pytest.approx(4.7), None, None)


def test_what_moves_loses_the_routes_that_it_drives(run):
    longest, after, kept = run(4.0, gate=2000, last=2000, other=3000)
    before = Packed(netlist(**CELLS))
    moved = {name for number, name in enumerate(before.names)
             if (before.x[number], before.y[number]) != (after.x[number], after.y[number])}
    assert longest == pytest.approx(4.7) and moved and moved <= {"first", "gate", "last"}
    assert kept == {"a", "b", "c"} - {net for net, driver in (("a", "first"), ("b", "gate")) if driver in moved}


def test_a_detour_is_routed_again(run):
    """Between two registers that stand side by side: nowhere to move, but the wire could be shorter."""
    cells = {name: CELLS[name] for name in ("one", "other")}
    longest, after, kept = run(4.0, cells, other=9000)
    assert longest == pytest.approx(9.5) and kept <= {"a", "b"}


def test_nothing_to_be_done(run):
    """Where no way is shorter than the one there is."""
    cells = {name: CELLS[name] for name in ("one", "other")}
    assert run(0.6, cells, other=300)[1:] == (None, None)
