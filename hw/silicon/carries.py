"""Constant inputs of the ECP5's carry cells, which need no wire."""

__all__ = ["release_constants"]

#: Bit of a table's index that each input of CCU2C is.
_PLACES = {"A": 0, "B": 1, "C": 2, "D": 3}


def release_constants(netlist):
    """Has the tables of CCU2C in a netlist of yosys (a dict, which changes) not depend on inputs that are zero, which become one.

    Inputs B, C and D are one where nothing is connected; a zero is a wire from a cell that drives it, which on a whole
    accelerator has thousands of sinks all over the device. A has no such rest, so a constant there changes places with B. A half's
    sum is that of its table of A to D, its carry also that of the lowest four entries, of A and B alone: so zeros at any
    input may go, but ones only where nothing is to be done.
    """
    for module in netlist["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] == "CCU2C":
                for half in "01":
                    _release(cell, half)


def _release(cell, half):
    pins, parameter = cell["connections"], f"INIT{half}"
    # Most significant entry first.
    table = [int(bit) for bit in reversed(cell["parameters"][parameter])]
    a, b = f"A{half}", f"B{half}"
    if pins[a][0] in ("0", "1") and pins[b][0] not in ("0", "1"):
        pins[a], pins[b] = pins[b], pins[a]
        table = [table[index & ~3 | index << 1 & 2 | index >> 1 & 1] for index in range(16)]
    for name in "BCD":
        if pins[f"{name}{half}"] == ["0"]:
            table = [table[index & ~(1 << _PLACES[name])] for index in range(16)]
            pins[f"{name}{half}"] = ["1"]
    cell["parameters"][parameter] = "".join(str(bit) for bit in reversed(table))
