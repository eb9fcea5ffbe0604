"""Nanoseconds in an ECP5 of speed grade 6, about as nextpnr's database has them.

They order paths; the clock is what nextpnr says of the routed netlist. In a slice two tables make one of five inputs (F1 to OFX),
and such pairs more (FXA, FXB to OFX); tables before adders have their carry (FCI to FCO).
"""

from dataclasses import dataclass, field

__all__ = ["DEDICATED", "Cell", "cell_delays", "connection", "wire"]

_TABLE, _MULTIPLEXER, _SELECT, _TABLE_TO_CARRY, _CARRY, _CARRY_TO_SUM = 0.236, 0.24, 0.256, 0.447, 0.036, 0.42
_REGISTER, _WRITE_SETUP = 0.525, 0.2
#: Of block RAM; its data come out where wires are many and ways are long. Here as for multipliers, what the way to a pin takes
#: more than to a slice's stands with the pin.
_MEMORY, _MEMORY_SETUP = 5.8, 0.4
#: Of a multiplier: through it, from inputs to registers in its midst, and to its outputs from those before, in and behind it.
_PRODUCT, _HALF_PRODUCT, _FROM_INPUTS, _FROM_MIDST, _FROM_OUTPUTS, _INPUT_SETUP = 4.2, 2.3, 3.9, 2.0, 0.5, 0.4

#: Wires that a slice or its neighbour has for nothing else, by the pin where they end.
DEDICATED = {"FCI": 0.0, "F1": 0.0, "FXA": 0.0, "FXB": 0.0, "DI": 0.13, "WD": 0.0,
             **{f"WAD{n}": 0.0 for n in range(4)}}


def wire(columns, rows):
    """From a cell to one so far away, as nextpnr routes it where nothing is in the way: short wires, then along long ones."""
    columns, rows = abs(columns), abs(rows)
    return 0.55 + 0.09 * min(columns + rows, 4) + 0.05 * columns + 0.058 * rows


def connection(pin, columns, rows):
    """To a ``pin`` of a cell so far away from the driver."""
    return DEDICATED[pin] if pin in DEDICATED else wire(columns, rows)


@dataclass
class Cell:
    """Delays of one cell: from input to output, from the clock to outputs, from inputs to the clock (by pin)."""
    through: list = field(default_factory=list)     # (input, output, delay)
    start: dict = field(default_factory=dict)
    setup: dict = field(default_factory=dict)


def cell_delays(kind, pins, parameters):
    """`Cell` of a kind with these pins connected; empty for kinds that stand at no end of a path here."""
    known = {"TRELLIS_COMB": _comb, "TRELLIS_RAMW": _write_port, "TRELLIS_FF": _register, "DP16KD": _memory,
             "MULT18X18D": _multiplier}
    return known[kind](pins, parameters) if kind in known else Cell()


def _comb(pins, parameters):
    cell = Cell()
    inputs = [pin for pin in "ABCD" if pin in pins]
    for output, delay in (("F", _TABLE), ("OFX", _TABLE + _MULTIPLEXER), ("FCO", _TABLE_TO_CARRY)):
        if output in pins:
            cell.through += [(pin, output, delay) for pin in inputs]
    for pin, output, delay in (("F1", "OFX", _MULTIPLEXER), ("FXA", "OFX", _MULTIPLEXER), ("FXB", "OFX", _MULTIPLEXER),
                               ("M", "OFX", _SELECT), ("FCI", "FCO", _CARRY), ("FCI", "F", _CARRY_TO_SUM)):
        if pin in pins and output in pins:
            cell.through.append((pin, output, delay))
    if "WRE" in pins:
        cell.setup["WRE"] = _WRITE_SETUP
    return cell


def _write_port(pins, parameters):
    return Cell(setup=dict.fromkeys((pin for pin in pins if not pin.startswith(("WADO", "WDO"))), _WRITE_SETUP))


def _register(pins, parameters):
    return Cell(start=dict.fromkeys(set(pins) & {"Q"}, _REGISTER), setup=dict.fromkeys(set(pins) - {"Q", "CLK"}, 0.0))


def _memory(pins, parameters):
    outputs = [pin for pin in pins if pin.startswith("DO")]
    return Cell(start=dict.fromkeys(outputs, _MEMORY),
                setup=dict.fromkeys(set(pins) - {"CLKA", "CLKB", *outputs}, _MEMORY_SETUP))


def _multiplier(pins, parameters):
    def registers(name):
        return parameters.get(f"REG_{name}_CLK", "NONE") != "NONE"

    outputs = [pin for pin in pins if pin[0] == "P" and pin[1:].isdigit()]
    behind, midst = registers("OUTPUT"), registers("PIPELINE")
    before = {operand: registers(f"INPUT{operand}") for operand in "AB"}
    cell = Cell()
    if behind or midst or any(before.values()):
        cell.start = dict.fromkeys(outputs, _FROM_OUTPUTS if behind else _FROM_MIDST if midst else _FROM_INPUTS)
    for pin in pins:
        if pin[0] in before and pin[1:].isdigit():
            if before[pin[0]]:
                cell.setup[pin] = _INPUT_SETUP
            elif behind or midst:
                cell.setup[pin] = _HALF_PRODUCT if midst else _PRODUCT
            else:
                cell.through += [(pin, output, _PRODUCT) for output in outputs]
        elif pin.startswith(("CE", "RST")):
            cell.setup[pin] = _INPUT_SETUP
    return cell
