"""Moves shorten paths, and leave a netlist that nextpnr takes."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_netlists import cell, netlist, packed, register, table

from weft.hw.silicon.placement import refine
from weft.hw.silicon.placement.packed import Packed
from weft.hw.silicon.placement.refine import Refinement
from weft.hw.silicon.placement.sites import Sites
from weft.hw.silicon.placement.slack import Slack


def crowd(columns, rows, most=4):
    """Tables in half of the slots of many tiles, which have all the time there is."""
    return {f"t{x}_{y}_{n}": table(f"{x}/{y}/{'ABCD'[n // 2]}.K{n % 2}", 1000 + 100 * (100 * x + y) + n, 900)
            for x in columns for y in rows for n in range(most)}


def longest(found):
    return Slack(found).ends()[0][0]


def test_a_gate_left_behind_follows_its_path(tmp_path):
    before = netlist(first=register("2/2/A.FF0", 2, "M", 9), gate=table("50/2/D.K1", 3, 2), last=register("4/2/D.FF0", 4, "M", 3),
                     **crowd(range(1, 52), [2]))
    source, target, told = tmp_path / "placed.json", tmp_path / "refined.json", []
    source.write_text(json.dumps(before))
    refine(source, target, 3.0, told.append)
    assert told[0].endswith(" ns, 1 ends of paths beyond 3.0") and told[-1].endswith(" ns, 0 ends of paths beyond 3.0")
    found = Packed.read(target)
    assert longest(found) < 3.0 and found.x[found.names.index("gate")] < 10
    assert Counter(zip(found.x, found.y, found.slot, strict=True)).most_common(1)[0][1] == 1


def test_what_is_in_time_stays(tmp_path):
    before = netlist(first=register("2/2/A.FF0", 2, "M", 9), gate=table("20/2/D.K1", 3, 2), last=register("4/2/D.FF0", 4, "M", 3))
    (tmp_path / "placed.json").write_text(json.dumps(before))
    refine(tmp_path / "placed.json", tmp_path / "refined.json", 10.0)
    one, other = Packed(before), Packed.read(tmp_path / "refined.json")
    assert (one.x, one.y, one.slot) == (other.x, other.y, other.slot)


def test_a_netlist_without_paths(tmp_path):
    (tmp_path / "placed.json").write_text(json.dumps(netlist(gate=table("20/2/D.K1", 3, 2))))
    refine(tmp_path / "placed.json", tmp_path / "refined.json", 10.0)
    assert (tmp_path / "refined.json").is_file()


def test_units_of_one_shape_change_places():
    """Every other slot is taken by what is no single unit: a way leads only through an exchange."""
    def pair(x, number, source):
        return {f"low{number}": table(f"{x}/1/A.K1", 10 * number, source),
                f"high{number}": table(f"{x}/1/A.K0", None, source, M=source, F1=10 * number, OFX=10 * number + 1)}

    full = {f"{kind}{x}_{n}": table(f"{x}/1/{n}.K{k}", 5000 + 100 * x + 2 * ord(n) + k, 900, mode="CCU2",
                                    **({"FCO": 9000 + 100 * x + ord(n)} if k == 0 else {"FCI": 9000 + 100 * x + ord(n)}))
            for x in (1, 2, 40) for n in "BCD" for k, kind in enumerate(("even", "odd"))}
    found = packed(memory=cell("DP16KD", "X1/Y1/EBR0", DOA0=2, ADA0=31), **pair(40, 3, 2), **pair(1, 7, 900), **pair(2, 8, 900),
                   **full)
    refinement = Refinement(found, 8.0)
    before = longest(found)
    assert refinement.sweep() == 1 and longest(found) < before - 3
    columns = {name: found.x[number] for number, name in enumerate(found.names)}
    assert columns["low3"] == columns["high3"] <= 2
    assert sorted((columns["low7"], columns["low8"])) == sorted((columns["high7"], columns["high8"])) == [3 - columns["low3"], 40]


def test_neighbours_on_a_path_move_together():
    """Out and back: two gates side by side, neither of which gains anything alone."""
    found = packed(first=register("2/2/A.FF0", 2, "M", 9), out=table("40/2/A.K0", 3, 2), back=table("40/2/A.K1", 4, 3),
                   last=register("2/2/B.FF0", 5, "M", 4), **crowd(range(1, 42), [2]))
    refinement = Refinement(found, 3.0)
    assert refinement.sweep()
    assert longest(found) < 4 and found.x[1] < 10 and found.x[2] < 10


SLOTS = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 7))


@st.composite
def placements(draw):
    """Registers, tables with and without a register, pairs, a memory; connected at random without loops."""
    cells, free = {"memory": cell("DP16KD", "X3/Y9/EBR1", DOA0=2, ADA0=3)}, set(draw(st.sets(SLOTS, min_size=4, max_size=40)))
    nets, sources = 10, [2]
    for number, (x, y, slot) in enumerate(sorted(free)):
        place = f"{x}/{y}/{'ABCD'[slot // 2]}"
        kind = draw(st.sampled_from(["table", "register", "both"]))
        inputs = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3))
        if kind == "register":
            cells[f"r{number}"] = register(f"{place}.FF{slot % 2}", nets, "M", inputs[0])
        else:
            cells[f"t{number}"] = table(f"{place}.K{slot % 2}", nets, *inputs)
            if kind == "both":
                cells[f"r{number}"] = register(f"{place}.FF{slot % 2}", nets + 1, "DI", nets)
        sources += [nets + (kind == "both")]
        nets += 2
    return netlist(**cells)


@settings(max_examples=60, deadline=None)
@given(placements(), st.floats(1.0, 9.0))
def test_what_comes_out_is_a_placement(before, target):
    found = Packed(json.loads(json.dumps(before)))
    was = Packed(before)
    refinement = Refinement(found, target)
    refinement.sweep()
    # Times that were followed are those of the places.
    assert refinement.slack.ends() == Slack(found).ends()
    taken = Counter(zip(found.x, found.y, found.slot, strict=True))
    assert taken.most_common(1)[0][1] == 1
    assert {tile: held for tile, held in refinement.sites.tiles.items() if held} == \
        {tile: held for tile, held in Sites(found).tiles.items() if held}
    for members in Sites(was).members.values():
        moves = {(found.x[one] - was.x[one], found.y[one] - was.y[one]) for one in members}
        slots = {found.slot[one] and found.slot[one][1] for one in members}
        assert len(moves) == 1 and len(slots) == 1
    assert (found.x[0], found.y[0]) == (3, 9)
    assert found.pins == was.pins


@settings(max_examples=60, deadline=None)
@given(placements(), st.floats(1.0, 9.0))
def test_paths_get_no_longer_together(before, target):
    with TemporaryDirectory() as folder:
        source, result = Path(folder) / "placed.json", Path(folder) / "refined.json"
        source.write_text(json.dumps(before))
        refine(source, result, target)
        _, _, over = Refinement(Packed(before), target).standing()
        assert Refinement(Packed.read(result), target).standing()[2] <= over + 1e-9


def test_a_round_that_makes_paths_longer_is_taken_back(tmp_path, monkeypatch):
    before = netlist(first=register("2/2/A.FF0", 2, "M", 9), gate=table("20/2/D.K1", 3, 2), last=register("4/2/D.FF0", 4, "M", 3))
    (tmp_path / "placed.json").write_text(json.dumps(before))

    def sweep(refinement):
        refinement.packed.x[1] = 60
        refinement.slack.compute()
        return 1

    monkeypatch.setattr(Refinement, "sweep", sweep)
    refine(tmp_path / "placed.json", tmp_path / "refined.json", 1.0)
    assert Packed.read(tmp_path / "refined.json").x == Packed(before).x


@pytest.mark.parametrize("target", [2.5, 4.0])
def test_cells_with_time_make_room(target):
    """All slots between the ends of a path are taken by tables that are on none."""
    found = packed(first=register("2/2/A.FF0", 2, "M", 9), gate=table("30/2/A.K0", 3, 2), last=register("4/2/A.FF0", 4, "M", 3),
                   **crowd(range(1, 8), [1, 2, 3], 8), **crowd(range(8, 30), [1, 2, 3], 2))
    refinement = Refinement(found, target)
    assert refinement.sweep() and longest(found) < target


def test_a_try_in_vain_leaves_everything_where_it_was():
    """The gate's place would be taken by a table that finds no other: all slots around are full."""
    found = packed(first=register("2/2/A.FF0", 2, "M", 9), gate=table("40/2/A.K0", 3, 2), last=register("4/2/A.FF0", 4, "M", 3),
                   **crowd(range(1, 10), [2], 8))
    refinement = Refinement(found, 1.5)
    sites, before = refinement.sites, list(zip(found.x, found.y, found.slot, strict=True))
    origin = sites.places(1)
    sites.lift(1)
    lifted = {tile: dict(held) for tile, held in sites.tiles.items()}
    assert not refinement._replace(1, origin, [(1, 3, 2, ("K", 0))], 5.0)
    assert list(zip(found.x, found.y, found.slot, strict=True)) == before and sites.tiles == lifted
