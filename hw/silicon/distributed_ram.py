"""Addresses of an ECP5's distributed RAM without constants."""

__all__ = ["release_addresses"]


def release_addresses(netlist):
    """Has address bits of 16 by 4 RAM that are always zero, in a netlist of yosys (a dict, which changes), follow others.

    Memories of two to eight words leave bits of both addresses at zero: wires from the one cell that drives zeros, five of them
    a RAM, thousands all over the device for a whole accelerator. Such a bit of the write address becomes the same as one that
    is used, and that of the read address likewise: words stand elsewhere then, each still in a place of its own. RAM with
    contents from the start is left alone.
    """
    for module in netlist["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] == "TRELLIS_DPR16X4" and "1" not in cell["parameters"].get("INITVAL", ""):
                write, read = cell["connections"]["WAD"], cell["connections"]["RAD"]
                used = [bit for bit in range(4) if isinstance(write[bit], int) and isinstance(read[bit], int)]
                for bit in range(4):
                    if used and write[bit] == read[bit] == "0":
                        write[bit], read[bit] = write[used[0]], read[used[0]]
