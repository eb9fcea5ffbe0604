"""The ECP5's carry cell, in Python."""

__all__ = ["carry_cell"]


def carry_cell(parameters, inputs, everywhere=1):
    """Outputs S0, S1 and COUT of a CCU2C after Lattice's description (FPGA-TN-02206).

    ``parameters`` as yosys writes them; ``inputs``: ``{pin: value}``. A value is an int with a bit for each of several cases, all
    of which ``everywhere`` has set.
    """
    def entry(table, values):
        found = 0
        for index, wanted in enumerate(table):
            if wanted == "1":
                term = everywhere
                for n, value in enumerate(values):
                    term &= value if index >> n & 1 else ~value
                found |= term
        return found

    carry, outputs = inputs["CIN"], {}
    for half in "01":
        table = parameters[f"INIT{half}"][::-1]
        whole = entry(table, [inputs[f"{name}{half}"] for name in "ABCD"])
        outputs[f"S{half}"] = whole ^ carry
        carry = whole & carry | ~whole & entry(table[:4], [inputs[f"{name}{half}"] for name in "AB"])
    return outputs | {"COUT": carry & everywhere}
