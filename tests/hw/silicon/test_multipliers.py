"""The ECP5's multipliers: operands moved up, registers moved inside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.hw.silicon.multipliers import absorb_registers, align_left

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


def flip_flop(data, output, enable=None, clock=100, **parameters):
    connections = {"DI": [data], "Q": [output], "CLK": [clock], "LSR": ["0"]} | ({"CE": [enable]} if enable else {})
    return {"type": "TRELLIS_FF", "connections": connections,
            "parameters": {"CEMUX": "CE" if enable else "1 ", "REGSET": "RESET", "LSRMUX": "LSR"} | parameters,
            "port_directions": {pin: "output" if pin == "Q" else "input" for pin in connections}}


def registered(chains, enables, behind, spied=()):
    """A multiplier of 2 by 2 bits; before operand A and B chains of registers, so many each, and registers behind the product's
    lower four bits or not. Inputs are bits 2 to 5, outputs 10 to 13; ``spied``: bits that leave the module beside them. Registers
    of side A, B and P have these enables."""
    cells, free = {}, 20
    ends = {}
    for n in range(4):
        side, bit = "AB"[n // 2], 2 + n
        for stage in range(chains[side]):
            cells[f"{side}{n}_{stage}"] = flip_flop(bit, free, enables[side])
            bit, free = free, free + 1
        ends[n] = bit
    module = netlist((2, False), (2, False), ())["modules"]["top"]
    mult = module["cells"]["mult"]
    for n in range(4):
        mult["connections"]["AB"[n // 2] + str(n % 2)] = [ends[n]]
        mult["connections"][f"P{n}"] = [60 + n] if behind else [10 + n]
        if behind:
            cells[f"P{n}"] = flip_flop(60 + n, 10 + n, enables["P"])
    for n in range(4, 36):
        mult["connections"][f"P{n}"] = [200 + n]
    mult["parameters"] = {}
    ports = {"i": {"direction": "input", "bits": [2, 3, 4, 5]}, "ce": {"direction": "input", "bits": [6, 7, 8]},
             "clk": {"direction": "input", "bits": [100]}, "o": {"direction": "output", "bits": [10, 11, 12, 13, *spied]}}
    return {"modules": {"top": {"ports": ports, "cells": {"mult": mult, **cells}, "netnames": {}}}}


def simulate(netlist, steps):
    """Outputs after each step of ``{input bit: value}``; registers of flip-flops and of the multiplier begin with zero."""
    module = netlist["modules"]["top"]
    cells, outputs = module["cells"], module["ports"]["o"]["bits"]
    mult = cells["mult"]
    pins, parameters = mult["connections"], mult["parameters"]
    names = {"A": "REG_INPUTA", "B": "REG_INPUTB", "P": "REG_OUTPUT"}
    held = {side: 0 for side in names}
    values = {cell["connections"]["Q"][0]: 0 for cell in cells.values() if cell["type"] == "TRELLIS_FF"} | {"0": 0, "1": 1}
    seen = []
    for step in [*steps, {bit: 0 for bit in steps[0]}]:
        values |= step
        given = {side: sum(values[pins[f"{side}{n}"][0]] << n for n in range(18)) for side in "AB"}
        inside = {side: f"{name}_CLK" in parameters for side, name in names.items()}
        factors = {side: held[side] if inside[side] else given[side] for side in "AB"}
        given["P"] = factors["A"] * factors["B"]
        shown = held["P"] if inside["P"] else given["P"]
        values |= {pins[f"P{n}"][0]: shown >> n & 1 for n in range(36)}
        seen.append([values[bit] for bit in outputs])
        after = {}
        for cell in cells.values():
            if cell["type"] == "TRELLIS_FF":
                wires = cell["connections"]
                if cell["parameters"]["CEMUX"].strip() != "CE" or values[wires["CE"][0]]:
                    after[wires["Q"][0]] = values[wires["DI"][0]]
        for side, name in names.items():
            if inside[side] and values[pins[parameters[f"{name}_CE"]][0]]:
                assert pins[parameters[f"{name}_CLK"]] == [100] and pins[parameters[f"{name}_RST"]] == ["0"]
                held[side] = given[side]
        values |= after
    return seen


@given(st.fixed_dictionaries({"A": st.integers(0, 3), "B": st.integers(0, 3)}),
       st.fixed_dictionaries({side: st.sampled_from([None, 6, 7, 8]) for side in "ABP"}), st.booleans(),
       st.sets(st.sampled_from([20, 21, 60]), max_size=1),
       st.lists(st.fixed_dictionaries({bit: st.integers(0, 1) for bit in range(2, 9)}), min_size=1, max_size=12))
def test_registers_inside_compute_the_same(chains, enables, behind, spied, steps):
    driven = {bit for cell in registered(chains, enables, behind)["modules"]["top"]["cells"].values()
              for pin, (bit,) in cell["connections"].items() if cell["port_directions"][pin] == "output"}
    spied = spied & driven
    before, after = registered(chains, enables, behind, spied), registered(chains, enables, behind, spied)
    absorb_registers(after)
    assert simulate(after, steps) == simulate(before, steps)
    parameters = after["modules"]["top"]["cells"]["mult"]["parameters"]
    inside = behind and 60 not in spied
    operands = [side for side in "AB" if chains[side] >= 2]
    # Behind logic operands' registers are taken only where logic follows the result too, and both or neither.
    if not inside and not operands and min(chains.values()) == 1:
        operands = list("AB")
    assert {name for name in parameters if name.endswith("CLK")} == {
        *(f"REG_INPUT{side}_CLK" for side in operands), *["REG_OUTPUT_CLK"] * inside}


def test_registers_that_the_block_has_not():
    """With a reset, an initial one, the falling edge, or another clock than the rest: they stay."""
    changes = [{"LSRMUX": "INV"}, {"REGSET": "SET"}, {"CLKMUX": "INV"}, {"CEMUX": "INV"}]
    for change in changes:
        kept = registered({"A": 0, "B": 0}, dict.fromkeys("ABP"), True)
        kept["modules"]["top"]["cells"]["P2"]["parameters"] |= change
        absorb_registers(kept)
        assert "P2" in kept["modules"]["top"]["cells"] and not kept["modules"]["top"]["cells"]["mult"]["parameters"]
    for pins, sides in (({"LSR": [8]}, "A"), ({"CLK": [101]}, "A")):
        kept = registered({"A": 2, "B": 0}, dict.fromkeys("ABP"), True)
        for n in range(4):
            kept["modules"]["top"]["cells"][f"P{n}"]["connections"] |= pins
        absorb_registers(kept)
        cells = kept["modules"]["top"]["cells"]
        assert [side for side in "AB" if f"REG_INPUT{side}_CLK" in cells["mult"]["parameters"]] == list(sides)
        assert "P0" in cells and "REG_OUTPUT_CLK" not in cells["mult"]["parameters"]


@pytest.mark.parametrize("change, taken", [(None, True), ({"CE": [9]}, False), ({"CLK": [101]}, False)])
def test_operands_behind_logic_are_taken_together_or_not_at_all(change, taken):
    """One register of an operand has an enable or a clock of its own: the other operand's stay, too."""
    kept = registered({"A": 1, "B": 1}, {"A": 6, "B": 7, "P": None}, False)
    cells = kept["modules"]["top"]["cells"]
    (name, *_) = [name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF" and
                  any(cell["connections"]["Q"] == cells["mult"]["connections"][f"A{n}"] for n in range(18))]
    cells[name]["connections"] |= change or {}
    absorb_registers(kept)
    assert {side for side in "AB" if f"REG_INPUT{side}_CLK" in cells["mult"]["parameters"]} == (set("AB") if taken else set())
