"""Operands of the ECP5's multipliers, moved up."""

from hypothesis import given
from hypothesis import strategies as st

from weft.hw.silicon.multipliers import align_left

#: Width of each operand, whether it is signed, and which bit of the result's top is read beside the product.
operands = st.tuples(st.integers(1, 18), st.booleans())


def netlist(a, b, read):
    """A multiplier of operands ``(width, signed)`` as yosys wires it, whose results of the numbers ``read`` a register takes."""
    connections, nets, free = {}, {}, 2
    for side, (width, signed) in (("A", a), ("B", b)):
        nets[side] = list(range(free, free + width))
        free += width
        bits = nets[side] + [nets[side][-1] if signed else "0"] * (18 - width)
        connections |= {f"{side}{n}": [bit] for n, bit in enumerate(bits)} | {f"SIGNED{side}": [str(int(signed))]}
    nets["P"] = list(range(free, free + 36))
    connections |= {f"P{n}": [bit] for n, bit in enumerate(nets["P"])}
    cells = {"mult": {"type": "MULT18X18D", "connections": connections,
                      "port_directions": {pin: "output" if pin[0] == "P" else "input" for pin in connections}},
             "taken": {"type": "TRELLIS_FF", "connections": {"DI": [nets["P"][n] for n in read]},
                       "port_directions": {"DI": "input"}}}
    return {"modules": {"top": {"ports": {}, "cells": cells, "netnames": {name: {"bits": bits} for name, bits in nets.items()}}}}


def evaluate(module, values):
    """``{bit: value}`` of the result, from values of the operands' bits."""
    pins = module["cells"]["mult"]["connections"]
    bits, factors = values | {"0": 0, "1": 1}, []
    for side in "AB":
        value = sum(bits[pins[f"{side}{n}"][0]] << n for n in range(18))
        if pins[f"SIGNED{side}"] == ["1"] and value >> 17:
            value -= 1 << 18
        factors.append(value)
    product = factors[0] * factors[1]
    return {pins[f"P{n}"][0]: product >> n & 1 for n in range(36)}


@given(operands, operands, st.data())
def test_products_stay(a, b, data):
    read = data.draw(st.sets(st.integers(0, 35), min_size=1))
    before, after = netlist(a, b, read), netlist(a, b, read)
    align_left(after)
    before, after = before["modules"]["top"], after["modules"]["top"]
    bits = before["netnames"]["A"]["bits"] + before["netnames"]["B"]["bits"]
    values = {bit: data.draw(st.integers(0, 1)) for bit in bits}
    wanted, found = evaluate(before, values), evaluate(after, values)
    assert all(found[bit] == wanted[bit] for bit in before["cells"]["taken"]["connections"]["DI"])


def test_no_wire_is_repeated():
    """The array's product, 9 by 8 bits: 17 wires, and results from bit 19 on."""
    moved = netlist((9, True), (8, True), range(17))
    align_left(moved)
    pins = moved["modules"]["top"]["cells"]["mult"]["connections"]
    wires = [pins[f"{side}{n}"][0] for side in "AB" for n in range(18) if pins[f"{side}{n}"] != ["0"]]
    assert sorted(wires) == list(range(2, 19)) and [pins[f"P{n}"][0] for n in range(19, 36)] == list(range(19, 36))
