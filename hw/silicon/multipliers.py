"""Multipliers of the ECP5 with operands that are narrower than theirs."""

from collections import Counter
from itertools import takewhile

__all__ = ["align_left"]

#: Bits of an operand of MULT18X18D.
_WIDTH = 18


def align_left(netlist):
    """Moves operands of MULT18X18D in a netlist of yosys (a dict, which changes) up by the bits that only repeat a sign, or are
    zero, and the result with them.

    The product is the same. What comes in below are zeros, which take no wire; yosys wires the sign to every bit above.
    """
    for module in netlist["modules"].values():
        cells = module["cells"].values()
        read = Counter(bit for cell in cells for port, bits in cell["connections"].items()
                       if cell["port_directions"][port] != "output" for bit in bits)
        read.update(bit for port in module["ports"].values() for bit in port["bits"])
        free = 1 + max((bit for cell in cells for bits in cell["connections"].values() for bit in bits if isinstance(bit, int)),
                       default=1)
        for cell in cells:
            if cell["type"] != "MULT18X18D":
                continue
            pins, moved, total = cell["connections"], {}, 0
            for side in "AB":
                bits = [pins[f"{side}{n}"][0] for n in range(_WIDTH)]
                signed = pins[f"SIGNED{side}"] == ["1"]
                filler = bits[-1] if signed else "0"
                # Of repeated signs one is the operand's own.
                spare = len(list(takewhile(lambda bit, filler=filler: bit == filler, reversed(bits)))) - signed
                moved[side] = ["0"] * spare + bits[:_WIDTH - spare]
                total += spare
            results = [pins[f"P{n}"][0] for n in range(2 * _WIDTH)]
            if any(read[bit] for bit in results[2 * _WIDTH - total:]):
                continue        # something reads the sign where it was repeated
            moved["P"] = [*range(free, free + total), *results[:2 * _WIDTH - total]]
            free += total
            for side, bits in moved.items():
                for n, bit in enumerate(bits):
                    pins[f"{side}{n}"] = [bit]
