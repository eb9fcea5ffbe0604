"""Sites of multipliers and block RAM on an ECP5."""

import re
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.hw.boards.catalog import BOARDS
from weft.hw.silicon.floorplan import GRIDS, assign_sites

#: 18x18 multipliers and block RAM of the devices on boards.
AVAILABLE = {board.fpga[-3:]: (board.multipliers, board.blocks) for board in BOARDS.values() if board.tools == "ecp5"}


#: Multipliers of engines, neither of the array nor of lanes.
OTHERS = ("core.dma.store_engine.front._007__MULT18X18D_P9", "core.dma.load_engine.front._007__MULT18X18D_P9",
          "core.vector.row_unit.multiplier._04__MULT18X18D_P9")
#: Block RAM of the vector engine that is not one lane's.
STATE = ("core.vector.row_state.norm.memory.storage.0.0", "core.vector.row_unit.reciprocal_root.entry_DP16KD_DOB9")
#: Block RAM of what lies behind the accelerator's bus.
BUFFERS = ("core.dma.load_engine.index.entries.memory.storage.0.0", "core.control.fetch.buffer.storage.memory.storage.0.0")


def netlist(rows, cols, lanes=0, banks=0, shards=0):
    """The multipliers and block RAM of an accelerator under the names that yosys gives them."""
    cells = {f"core.tensor.array.pe_{r}_{c}.product_TRELLIS_FF_Q": "MULT18X18D" for r in range(rows) for c in range(cols)}
    cells |= {f"core.vector.requantizer.lane_{lane}._05{n}__MULT18X18D_P9": "MULT18X18D" for lane in range(lanes) for n in (5, 7)}
    cells |= {f"core.vector.requantizer.products_144_MULT18X18D_P9_{lane}": "MULT18X18D" for lane in range(lanes)}
    cells |= {f"core.{kind}.bank_{bank}.memory.storage.0.{shard}": "DP16KD" for kind in ("scratchpad", "accumulators")
              for bank in range(banks) for shard in range(shards)}
    cells |= dict.fromkeys(OTHERS, "MULT18X18D") | dict.fromkeys(BUFFERS, "DP16KD")
    tables = [f"core.vector.requantizer.tables.table_{lane}.memory.storage.0.0" for lane in range(lanes)]
    cells |= dict.fromkeys([*tables, *STATE], "DP16KD")
    module = {"cells": {name: {"type": kind, "attributes": {}, "connections": {}} for name, kind in cells.items()},
              "netnames": {"core.vector.requantizer.products_144": {"bits": list(range(2, 2 + lanes))}}}
    for name, cell in module["cells"].items():
        if found := re.search(r"pe_(\d+)_(\d+)", name):       # weights are swapped diagonal by diagonal; the others are always on
            cell["connections"] |= {"CE0": ["1"], "CE1": [1000 + int(found[1]) + int(found[2])], "CE2": ["0"]}
    for lane in range(lanes):                                 # the last of the names has the first lane's products
        name = f"core.vector.requantizer.products_144_MULT18X18D_P9_{lane}"
        module["cells"][name]["connections"] |= {"P9": [2 + (lane + 1) % lanes], "CE0": [999]}
    return {"modules": {"frame": module}}


def sites(placed):
    """``{cell: (x, y, name of the site)}`` of those that have one."""
    found = {}
    for name, cell in placed["modules"]["frame"]["cells"].items():
        if "BEL" in cell["attributes"]:
            x, y, site = re.fullmatch(r"X(\d+)/Y(\d+)/(\w+)", cell["attributes"]["BEL"]).groups()
            found[name] = int(x), int(y), site
    return found


def block(grid, x):
    return max(start for start in grid.blocks if start <= x)


@pytest.mark.parametrize("device", AVAILABLE)
def test_the_grid_has_what_the_device_has(device):
    grid = GRIDS[device]
    assert tuple(4 * len(grid.blocks) * len(rows) for rows in (grid.multipliers, grid.memories)) == AVAILABLE[device]


@given(st.sampled_from(sorted(GRIDS)), st.integers(2, 16), st.integers(2, 16), st.integers(0, 16), st.integers(0, 8),
       st.integers(1, 16))
def test_sites(device, rows, cols, lanes, banks, shards):
    grid, placed = GRIDS[device], netlist(rows, cols, lanes, banks, shards)
    assign_sites(placed, f"LFE5U-{device}")
    found = sites(placed)
    assert len(set(found.values())) == len(found)                 # one cell a site
    for name in OTHERS:
        if name in found:       # there was a block without any
            assert sum((block(grid, found[name][0]), found[name][1]) == (block(grid, x), y) for x, y, _ in found.values()) == 1
    for name, (x, y, site) in found.items():
        assert (y in grid.multipliers, y in grid.memories)[site.startswith("EBR")], name
    if -(-rows // 2) * -(-cols // 2) <= len(grid.multipliers) * len(grid.blocks) // 2:
        assert sum(".pe_" in name for name in found) == rows * cols
    enables = defaultdict(set)
    for name, (x, y, site) in found.items():
        if site.startswith("MULT"):
            pins = placed["modules"]["frame"]["cells"][name]["connections"]
            enables[block(grid, x), y] |= {pins[pin][0] if pins[pin][0] not in ("0", "1") else "constant"
                                           for pin in pins if pin.startswith("CE")}
    assert all(len(group) <= 4 for group in enables.values())     # that the multipliers of a block share


def test_neighbours_stay_near():
    placed = netlist(8, 8, lanes=8, banks=8, shards=4)
    assign_sites(placed, "LFE5U-85F")
    found = sites(placed)

    def at(name):
        return found[next(key for key in found if name in key)]

    for row in range(8):
        for col in range(8):
            x, y, _ = at(f"pe_{row}_{col}.")
            if row < 7:
                below = at(f"pe_{row + 1}_{col}.")
                assert abs(below[0] - x) + abs(below[1] - y) <= 30
            if col < 7:
                right = at(f"pe_{row}_{col + 1}.")
                assert right[1] == y and right[0] - x <= 20
    # Each lane's three multipliers in one block, also its product, whose name says nothing of the lane.
    grid = GRIDS["85F"]
    for lane in range(8):
        x, y, _ = at(f"lane_{lane}._055")
        product = at(f"products_144_MULT18X18D_P9_{(lane - 1) % 8}")
        assert {at(f"lane_{lane}._057")[1], product[1], y} == {58}
        assert {block(grid, place[0]) for place in (at(f"lane_{lane}._057"), product)} == {block(grid, x)}
        assert at(f"table_{lane}.")[1] == 70
    assert all(at(name)[1] == 70 for name in STATE)
    # The vector engine's other multiplier beside its lanes, the memory engines' beside the array; theirs and the control's block
    # RAM is on the same side.
    assert [at(name)[:2] for name in (*OTHERS, *BUFFERS)] == [(96, 34), (96, 10), (96, 58), (96, 22), (96, 46)]
    assert Counter(y for _, y, _ in found.values()) == {10: 33, 34: 33, 58: 25, 22: 33, 46: 33, 70: 10}


def test_the_same_bits_of_all_banks_stay_together():
    """In two rows of block RAM, where a group of eight begins in one and ends in the other."""
    placed = netlist(8, 8, banks=8, shards=10)
    assign_sites(placed, "LFE5U-85F")
    found = sites(placed)
    for shard in range(10):
        x, y = zip(*(found[f"core.scratchpad.bank_{bank}.memory.storage.0.{shard}"][:2] for bank in range(8)), strict=True)
        assert max(x) - min(x) <= 18
    assert {y for name, (_, y, _) in found.items() if "scratchpad" in name} == {22, 46}


def test_lanes_between_the_array():
    """Nine rows of twelve columns have blocks in all of the device's rows."""
    placed = netlist(9, 12, lanes=12)
    assign_sites(placed, "LFE5U-85F")
    found, grid = sites(placed), GRIDS["85F"]
    blocks = defaultdict(list)
    for lane in range(12):
        places = [found[f"core.vector.requantizer.lane_{lane}._05{n}__MULT18X18D_P9"] for n in (5, 7)]
        assert {y for _, y, _ in places} == {58} and len({block(grid, x) for x, _, _ in places}) == 1
        blocks[block(grid, places[0][0])].append(lane)
        x, y, _ = found[f"core.vector.requantizer.products_144_MULT18X18D_P9_{(lane - 1) % 12}"]
        assert y == 58 and abs(x - places[0][0]) <= 30
    assert [blocks[x] for x in sorted(blocks)] == [[lane, lane + 1] for lane in range(0, 12, 2)]
