"""Arrival times of a placed netlist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed_netlists import cell, packed, register, table

from weft.hw.silicon.placement.delays import cell_delays, wire
from weft.hw.silicon.placement.slack import NEVER, Slack


def chain():
    """Two registers, two tables, a register, and a table that knows no clock."""
    return packed(first=register("0/0/A.FF0", 2, "M", 9), second=register("9/0/A.FF0", 3, "M", 9),
                  near=table("1/0/A.K0", 4, 2, 3), last=table("1/5/A.K0", 5, 4, 2), end=register("1/5/A.FF0", 9, "DI", 5),
                  constant=table("4/4/A.K0", 7), idle=table("4/5/A.K0", 8, 7))


def test_the_longest_path_to_each_end():
    slack = Slack(chain())
    far, down, direct = wire(8, 0), wire(0, 5), 0.13
    wanted = {"first": 0.525 + wire(1, 5), "second": 0.525 + wire(8, 5), "end": 0.525 + far + 0.236 + down + 0.236 + direct}
    assert {slack.packed.names[number]: length for length, number, _ in slack.ends()} == pytest.approx(wanted)
    assert slack.ends()[0][0] == max(length for length, _, _ in slack.ends()) == pytest.approx(wanted["end"])
    assert slack.length(3, 2, "B") == pytest.approx(wanted["end"])      # all wires of a path are as long
    assert slack.length(4, 3, "A") == pytest.approx(wanted["end"])
    assert slack.arrival[8] < NEVER / 2 and slack.tail[8] < NEVER / 2


def test_what_is_part_of_a_loop_has_no_time():
    slack = Slack(packed(one=table("0/0/A.K0", 2, 3), other=table("0/0/A.K1", 3, 2), end=register("0/0/A.FF0", 4, "DI", 2)))
    assert slack.ends() == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(0, 60)), max_size=5))
def test_what_moves_is_followed(moves):
    slack = Slack(chain())
    for number, x, y in moves:
        slack.packed.x[number], slack.packed.y[number] = x, y
        slack.update({number})
        arrival, tail = dict(slack.arrival), dict(slack.tail)
        slack.compute()
        assert (arrival, tail) == (slack.arrival, slack.tail)


def test_wires_grow_with_distance():
    assert wire(0, 0) < wire(0, 1) < wire(2, 1) < wire(-9, 1) < wire(-9, -30) == wire(9, 30)


@pytest.mark.parametrize("registers, start, setup, through", [
    ((), {}, {}, 2), (("INPUTA", "INPUTB"), {"P0": 3.9}, {"A0": 0.4, "B0": 0.4}, 0),
    (("PIPELINE",), {"P0": 2.0}, {"A0": 2.3, "B0": 2.3}, 0), (("OUTPUT",), {"P0": 0.5}, {"A0": 4.2, "B0": 4.2}, 0),
    (("INPUTA", "OUTPUT"), {"P0": 0.5}, {"A0": 0.4, "B0": 4.2}, 0)])
def test_multipliers(registers, start, setup, through):
    """By where they have registers."""
    found = cell_delays("MULT18X18D", {"A0": 2, "B0": 3, "P0": 4}, {f"REG_{name}_CLK": "CLK0" for name in registers})
    assert (found.start, found.setup, len(found.through)) == (start, setup, through)


def test_tables_adders_and_memories():
    comb = cell_delays("TRELLIS_COMB", {"A": 2, "M": 3, "F1": 4, "OFX": 5, "WRE": 6}, {})
    assert {(pin, output) for pin, output, _ in comb.through} == {("A", "OFX"), ("M", "OFX"), ("F1", "OFX")}
    assert comb.setup == {"WRE": 0.2}
    carry = cell_delays("TRELLIS_COMB", {"A": 2, "FCI": 3, "FCO": 4, "F": 5}, {})
    assert {(pin, output) for pin, output, _ in carry.through} == {("A", "FCO"), ("A", "F"), ("FCI", "FCO"), ("FCI", "F")}
    memory = cell_delays("DP16KD", {"DOA0": 2, "ADA0": 3, "CLKA": 1}, {})
    assert (memory.start, memory.setup) == ({"DOA0": 5.8}, {"ADA0": 0.4})
    assert cell_delays("TRELLIS_RAMW", {"WADO0": 2, "A0": 3}, {}).setup == {"A0": 0.2}
    assert cell_delays("EHXPLLL", {"CLKI": 2}, {}).setup == {}


def test_clocks_are_no_paths():
    slack = Slack(packed(buffer=cell("DCCA", "X67/Y0/TDCC0", CLKO=1, CLKI=20), held=register("0/0/A.FF0", 2, "M", 2)))
    assert [(number, pin) for _, number, pin in slack.ends()] == [(1, "M")]
