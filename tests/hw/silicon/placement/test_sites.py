"""What moves together, and what a tile of slices can hold."""

import pytest
from packed_netlists import cell, packed, register, table

from weft.hw.silicon.placement.sites import Sites


def ram(tile, prefix):
    """A block of distributed RAM with one table, and its write port."""
    return {f"{prefix}$DPRAM_COMB0": table(f"{tile}/A.K0", 50, 2, mode="DPRAM", WRE=4),
            f"{prefix}$RAMW_SLICE": cell("TRELLIS_RAMW", f"X{tile.replace('/', '/Y')}/SLICEC.RAMW", WADO0=51, A0=2),
            f"{prefix}$RAMW_BLOCK0": table(f"{tile}/C.K0", None, mode="RAMW_BLOCK"),
            f"{prefix}$RAMW_BLOCK1": table(f"{tile}/C.K1", None, mode="RAMW_BLOCK")}


def units(sites):
    names = sites.packed.names
    return {frozenset(names[cell] for cell in members) for members in sites.members.values()}


def test_what_dedicated_wires_join_moves_together():
    found = Sites(packed(
        low=table("1/1/A.K1", 10, 2), select=table("1/1/A.K0", None, 2, M=3, F1=10, OFX=11),
        held=register("1/1/A.FF0", 12, "DI", 11),
        wide=table("1/1/B.K1", None, 2, FXA=11, OFX=13),
        sum0=table("2/1/A.K0", 20, 2, FCO=21, mode="CCU2"), sum1=table("2/1/A.K1", 22, 2, FCI=21, mode="CCU2"),
        alone=table("3/1/A.K0", 30, 12), apart=register("3/1/A.FF1", 31, "M", 30),
        **ram("4/1", "queue.0"), **ram("5/1", "queue.1")))
    assert units(found) == {
        frozenset({"low", "select", "held", "wide"}), frozenset({"sum0", "sum1"}), frozenset({"alone"}),
        frozenset({"apart"}),
        *(frozenset(f"queue.{n}{cell}" for cell in ("$DPRAM_COMB0", "$RAMW_SLICE", "$RAMW_BLOCK0", "$RAMW_BLOCK1"))
          for n in range(2))}
    assert not found.fixed


def test_what_stands_outside_the_slices_stays():
    found = Sites(packed(memory=cell("DP16KD", "X13/Y22/EBR1", DOA0=2), pair=table("1/1/A.K0", 3, 2),
                         held=register("1/1/A.FF0", 4, "DI", 3)))
    assert {found.packed.names[cell] for unit in found.fixed for cell in found.members[unit]} == {"memory"}


@pytest.mark.parametrize("cells, single", [
    ({"a": table("1/1/A.K0", 3, 2)}, True), ({"a": register("1/1/A.FF1", 3, "M", 2)}, True),
    ({"a": table("1/1/A.K1", 3, 2), "b": register("1/1/A.FF1", 4, "DI", 3)}, True),
    ({"a": table("1/1/A.K1", 3, 2), "b": table("1/1/A.K0", None, 2, F1=3, OFX=4)}, False),
    ({"a": cell("DP16KD", "X13/Y22/EBR1", DOA0=2)}, False)])
def test_single_units_have_one_slot(cells, single):
    found = Sites(packed(**cells))
    (unit,) = found.members
    assert found.single(unit) is single
    places = found.variants(unit, 2, 3)
    if single:
        assert [{number for *_, (_, number) in variant} for variant in places] == [{n} for n in range(8)]
        assert all((x, y) == (3, 4) for variant in places for _, x, y, _ in variant)
    else:
        assert places == [found.places(unit, 2, 3)]


#: What is in a tile, what comes, and whether it may.
CASES = {
    "a free slot": ({"a": table("1/1/A.K0", 3, 2)}, table("2/1/A.K1", 4, 2), True),
    "a taken slot": ({"a": table("1/1/A.K0", 3, 2)}, table("2/1/A.K0", 4, 2), False),
    "a table beside a register that takes a wire": ({"a": register("1/1/A.FF0", 3, "M", 2)}, table("2/1/A.K0", 4, 2), True),
    "the same wire is the selection": ({"a": register("1/1/A.FF0", 3, "M", 2)}, table("2/1/A.K0", 4, 2, M=5), False),
    "selection and a register, the other way": ({"a": table("1/1/A.K0", 3, 2, M=5)}, register("2/1/A.FF0", 4, "M", 2), False),
    "a register of another table": ({"a": table("1/1/A.K0", 3, 2), "b": register("1/1/A.FF0", 6, "DI", 3)},
                                    register("2/1/A.FF0", 4, "M", 2), False),
    "one clock enable in a slice": ({"a": register("1/1/A.FF0", 3, "M", 2, CE=7)}, register("2/1/A.FF1", 4, "M", 2, CE=7), True),
    "two clock enables in a slice": ({"a": register("1/1/A.FF0", 3, "M", 2, CE=7)}, register("2/1/A.FF1", 4, "M", 2, CE=8), False),
    "two clock enables in a tile": ({"a": register("1/1/A.FF0", 3, "M", 2, CE=7)}, register("2/1/B.FF1", 4, "M", 2, CE=8), True),
    "one reset in a tile": ({"a": register("1/1/A.FF0", 3, "M", 2, LSR=7)}, register("2/1/D.FF1", 4, "M", 2, LSR=7), True),
    "two resets in a tile": ({"a": register("1/1/A.FF0", 3, "M", 2, LSR=7)}, register("2/1/D.FF1", 4, "M", 2, LSR=8), False),
    "with and without reset in a tile": ({"a": register("1/1/A.FF0", 3, "M", 2)}, register("2/1/D.FF1", 4, "M", 2, LSR=8), False),
    "a table beside an adder": ({"a": table("1/1/A.K0", 3, 2, mode="CCU2")}, table("2/1/A.K1", 4, 2), False),
    "a table in a slice beside RAM": (ram("1/1", "r"), table("2/1/B.K1", 4, 2), True),
    "a table in a slice of RAM": (ram("1/1", "r"), table("2/1/A.K1", 4, 2), False),
    "a table in the slice of a write port": (ram("1/1", "r"), table("2/1/C.K1", 4, 2), False),
    "a register beside RAM": (ram("1/1", "r"), register("2/1/D.FF0", 4, "M", 2), True),
    "a register in a slot of RAM": (ram("1/1", "r"), register("2/1/A.FF0", 4, "M", 2), False),
    "a register with reset beside RAM": (ram("1/1", "r"), register("2/1/D.FF0", 4, "M", 2, LSR=8), False),
}


@pytest.mark.parametrize("case", CASES)
def test_a_tile_holds_what_its_wires_allow(case):
    present, comes, allowed = CASES[case]
    found = Sites(packed(**present, comes=comes))
    unit = found.unit[len(present)]
    places = found.places(unit, -1, 0)
    found.lift(unit)
    assert found.fits(places) is allowed
    assert not found.fits([(one, x + 50, y, slot) for one, x, y, slot in places])       # no tile of slices is known there
    found.put(places)
    assert found.tiles[1, 1][places[0][3]] == len(present) and not found.tiles[2, 1]


def test_two_rams_do_not_share_a_tile():
    found = Sites(packed(**ram("1/1", "first"), second=table("2/1/B.K0", 60, 2, mode="DPRAM", WRE=4)))
    unit = found.unit[-1]
    places = found.places(unit, -1, 0)
    found.lift(unit)
    assert not found.fits(places)
