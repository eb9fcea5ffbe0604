"""Addresses of distributed RAM lose their constants, and no word its place."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.hw.silicon.distributed_ram import release_addresses

UNKNOWN = "x" * 64


def ram(write, read, contents=UNKNOWN):
    return {"type": "TRELLIS_DPR16X4", "parameters": {"INITVAL": contents}, "connections": {"WAD": write, "RAD": read, "WRE": [90]}}


def changed(cell):
    netlist = {"modules": {"top": {"cells": {"ram": copy.deepcopy(cell), "table": {"type": "LUT4", "connections": {"A": ["0"]}}}}}}
    release_addresses(netlist)
    assert netlist["modules"]["top"]["cells"]["table"]["connections"] == {"A": ["0"]}
    return netlist["modules"]["top"]["cells"]["ram"]


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_each_word_keeps_a_place_of_its_own(used):
    found = changed(ram([2 + bit if one else "0" for bit, one in enumerate(used)],
                        [12 + bit if one else "0" for bit, one in enumerate(used)]))
    write, read = found["connections"]["WAD"], found["connections"]["RAD"]
    if any(used):
        assert all(isinstance(bit, int) for bit in write + read)
    else:
        assert write == read == ["0"] * 4
    bits = [bit for bit in range(4) if used[bit]]
    places = set()
    for address in range(2 ** len(bits)):
        values = {"0": 0} | {first + bit: address >> n & 1 for n, bit in enumerate(bits) for first in (2, 12)}
        places.add(tuple(values[bit] for bit in write))
        assert [values[bit] for bit in write] == [values[bit] for bit in read]      # what is written there is read there
    assert len(places) == 2 ** len(bits)


@pytest.mark.parametrize("cell", [
    ram([2, 3, "0", "0"], [12, 13, "0", "0"], "01" + "x" * 62),       # contents
    ram([2, 3, "0", 4], [12, 13, 14, "0"]),                           # zero in one of them only
    ram([2, 3, "1", "x"], [12, 13, "1", "x"]), ram([2, 3, 4, 5], [12, 13, 14, 15])])
def test_the_rest_stays(cell):
    assert changed(cell) == cell
