"""The ECP5's multipliers as yosys wires them, put to better use: operands moved up, registers moved inside."""

from collections import Counter, defaultdict
from itertools import takewhile

__all__ = ["absorb_registers", "align_left"]

#: Bits of an operand of MULT18X18D, and its clock enables.
_WIDTH, _ENABLES = 18, 4
#: Pins of MULT18X18D, and the registers behind operands and before the result.
_PINS = {side: [f"{side}{n}" for n in range(width)] for side, width in (("A", _WIDTH), ("B", _WIDTH), ("P", 2 * _WIDTH))}
_REGISTERS = {"A": "INPUTA", "B": "INPUTB", "P": "OUTPUT"}


def _multipliers(cells):
    return [cell for cell in cells.values() if cell["type"] == "MULT18X18D"]


def _readers(module):
    """``{bit: [(cell, pin)]}`` of what reads it; ports of the module are ``(None, port)``."""
    readers = defaultdict(list)
    for name, cell in module["cells"].items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                for bit in bits:
                    readers[bit].append((name, pin))
    for name, port in module["ports"].items():
        for bit in port["bits"]:
            readers[bit].append((None, name))
    return readers


def align_left(netlist):
    """Moves operands of MULT18X18D in a netlist of yosys (a dict, which changes) up by the bits that only repeat a sign, or are
    zero, and the result with them.

    The product is the same. What comes in below are zeros, which take no wire; yosys wires the sign to every bit above.
    """
    for module in netlist["modules"].values():
        cells = module["cells"]
        read = _readers(module)
        free = 1 + max((bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits
                        if isinstance(bit, int)), default=1)
        for cell in _multipliers(cells):
            pins, moved, total = cell["connections"], {}, 0
            for side in "AB":
                bits = [pins[pin][0] for pin in _PINS[side]]
                signed = pins[f"SIGNED{side}"] == ["1"]
                filler = bits[-1] if signed else "0"
                # Of repeated signs one is the operand's own.
                spare = len(list(takewhile(lambda bit, filler=filler: bit == filler, reversed(bits)))) - signed
                moved[side] = ["0"] * spare + bits[:_WIDTH - spare]
                total += spare
            results = [pins[pin][0] for pin in _PINS["P"]]
            if any(read[bit] for bit in results[2 * _WIDTH - total:]):
                continue        # something reads the sign where it was repeated
            moved["P"] = [*range(free, free + total), *results[:2 * _WIDTH - total]]
            free += total
            for side, bits in moved.items():
                for pin, bit in zip(_PINS[side], bits, strict=True):
                    pins[pin] = [bit]


def absorb_registers(netlist):
    """Moves registers before the operands of MULT18X18D, and behind its result, into the block, in a netlist of yosys (a dict,
    which changes); yosys uses none of the block's own.

    A register that something else reads too stays, beside the block's. Left where they are: those with a reset or an initial
    one, and a result with bits that anything but one register reads. An operand's registers must follow other registers: behind
    logic, a wire more to the block would make a path longer. Unless logic follows the result as well: there the wire from the
    operands' registers to the block makes a longer one longer. Then both operands' registers move or neither's, since nextpnr
    knows no times of blocks that have one.
    """
    for module in netlist["modules"].values():
        cells, readers = module["cells"], _readers(module)
        drivers = {bit: name for name, cell in cells.items() for pin, bits in cell["connections"].items()
                   if cell["port_directions"][pin] == "output" for bit in bits}
        for cell in _multipliers(cells):
            pins, controls = cell["connections"], _Controls()
            operands = {side: _operand_registers(cells, drivers, cell, side) for side in "AB"}
            for side, registers in operands.items():
                if registers and all(_follows_register(cells, drivers, one) for one in registers.values()):
                    _absorb_operand(cell, side, registers, controls)
            results = [readers[pins[pin][0]] for pin in _PINS["P"]]
            behind = [cells.get(found[0][0]) if len(found) == 1 and found[0][1] == "DI" else None for found in results]
            taken = [register for found, register in zip(results, behind, strict=True) if found]
            if all(map(_is_plain, taken)) and controls.admit("P", taken):
                for pin, found, register in zip(_PINS["P"], results, behind, strict=True):
                    if found:
                        pins[pin] = register["connections"]["Q"]
                        del cells[found[0][0]]
            elif not controls.sides and _agree(*(registers.values() for registers in operands.values())):
                for side, registers in operands.items():
                    _absorb_operand(cell, side, registers, controls)
            controls.connect(cell)
        _remove_unread(module)


def _operand_registers(cells, drivers, cell, side):
    """``{pin: register}`` before an operand of a multiplier, none if some bit comes from elsewhere."""
    found = {pin: cells.get(drivers.get(cell["connections"][pin][0])) for pin in _PINS[side] if cell["connections"][pin] != ["0"]}
    return found if all(map(_is_plain, found.values())) else {}


def _absorb_operand(cell, side, registers, controls):
    if controls.admit(side, registers.values()):
        for pin, register in registers.items():
            cell["connections"][pin] = register["connections"]["DI"]


class _Controls:
    """Clock and enables of the registers in one block, which share one clock and have four enables."""

    def __init__(self):
        self.clock, self.enables, self.sides = None, [], {}

    def admit(self, side, registers):
        """Whether a side's registers, which are moved as one, fit in with those of other sides; if so they count."""
        found = _clocks_and_enables(registers)
        if len(found) != 1:
            return False
        (clock, enable), = found
        if self.clock not in (None, clock) or (enable not in self.enables and len(self.enables) == _ENABLES):
            return False
        self.clock = clock
        if enable not in self.enables:
            self.enables.append(enable)
        self.sides[side] = f"CE{self.enables.index(enable)}"
        return True

    def connect(self, cell):
        """Tells a block of its registers."""
        if not self.sides:
            return
        for side, enable in self.sides.items():
            name = f"REG_{_REGISTERS[side]}"
            cell["parameters"] |= {f"{name}_CLK": "CLK0", f"{name}_CE": enable, f"{name}_RST": "RST0"}
        cell["parameters"]["GSR"] = "DISABLED"
        pins = {"CLK0": self.clock, "RST0": "0"} | {f"CE{n}": bit for n, bit in enumerate(self.enables)}
        cell["connections"] |= {pin: [bit] for pin, bit in pins.items()}
        cell["port_directions"] |= dict.fromkeys(pins, "input")


def _clocks_and_enables(registers):
    return {(register["connections"]["CLK"][0], _enable(register)) for register in registers}


def _agree(*sides):
    """Whether each of these sides of a block has registers of one enable, and all of them one clock."""
    found = [_clocks_and_enables(registers) for registers in sides]
    return all(len(one) == 1 for one in found) and len({clock for one in found for clock, _ in one}) == 1


def _is_plain(cell):
    """Whether a cell is a flip-flop at the rising edge, without reset, that begins with zero."""
    return cell is not None and cell["type"] == "TRELLIS_FF" and cell["connections"].get("LSR", ["0"]) == ["0"] and \
        _setting(cell, "LSRMUX", "LSR") == "LSR" and _setting(cell, "REGSET", "RESET") == "RESET" and \
        _setting(cell, "CLKMUX", "CLK") == "CLK" and _setting(cell, "CEMUX", "1") in ("1", "CE")


def _setting(cell, name, default):
    return cell["parameters"].get(name, default).strip()


def _enable(register):
    return register["connections"]["CE"][0] if _setting(register, "CEMUX", "1") == "CE" else "1"


def _follows_register(cells, drivers, register):
    source = cells.get(drivers.get(register["connections"]["DI"][0]))
    return source is not None and source["type"] == "TRELLIS_FF"


def _remove_unread(module):
    """Removes flip-flops that nothing reads, and those that only they read."""
    cells = module["cells"]
    read = Counter({bit: len(found) for bit, found in _readers(module).items()})
    sources = {cell["connections"]["Q"][0]: name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    unread = [bit for bit in sources if not read[bit]]
    while unread:
        for pin, bits in cells.pop(sources.pop(unread.pop()))["connections"].items():
            if pin != "Q":
                for bit in bits:
                    read[bit] -= 1
                    if bit in sources and not read[bit]:
                        unread.append(bit)
