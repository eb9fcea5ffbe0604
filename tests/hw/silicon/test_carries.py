"""Constants at the ECP5's carry cells."""

from carry_cell import carry_cell
from hypothesis import given
from hypothesis import strategies as st

from weft.hw.silicon.carries import release_constants

INPUTS = [f"{name}{half}" for half in "01" for name in "ABCD"]


def evaluate(cell, values):
    """Outputs of a cell; ``values`` of bits and the carry."""
    return carry_cell(cell["parameters"], {"CIN": values["CIN"]} | {pin: values[cell["connections"][pin][0]] for pin in INPUTS})


@given(st.data())
def test_sums_and_carries_stay(data):
    connections = {pin: [data.draw(st.sampled_from(["0", "1", 10 + n]))] for n, pin in enumerate(INPUTS)}
    parameters = {f"INIT{half}": data.draw(st.text("01", min_size=16, max_size=16)) for half in "01"}

    def netlist():
        cell = {"type": "CCU2C", "connections": dict(connections), "parameters": dict(parameters)}
        return {"modules": {"top": {"cells": {"carry": cell}}}}

    before, after = netlist(), netlist()
    release_constants(after)
    before, after = (each["modules"]["top"]["cells"]["carry"] for each in (before, after))
    for _ in range(8):
        values = {"0": 0, "1": 1, "CIN": data.draw(st.integers(0, 1))}
        values |= {10 + n: data.draw(st.integers(0, 1)) for n in range(len(INPUTS))}
        assert evaluate(after, values) == evaluate(before, values)
    for half in "01":
        assert all(after["connections"][f"{name}{half}"] != ["0"] for name in "BCD")
        if isinstance(connections[f"B{half}"][0], int):
            assert isinstance(after["connections"][f"A{half}"][0], int)
