"""The one wrapper around every on-chip memory.

Amaranth instantiates `weft_memory`, whose Verilog is `VERILOG` below: simulation and FPGA tools infer block RAM from
it, an ASIC flow replaces this one module by its macros. What it promises when a word is read and written in one cycle
is all that the accelerator relies on: with `COLLISION_NOISE` defined, the module returns noise for everything else.
"""

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["OnChipMemory", "VERILOG", "MODULE", "PORTS", "PARAMETERS", "COLLISION", "COLLISION_NOISE", "header"]

#: Name of the Verilog module that `OnChipMemory` instantiates.
MODULE = "weft_memory"

#: What happens to a word that is read and written in one cycle, for ``weft.json``.
COLLISION = "lanes that are written may read as anything, lanes that are not written must read as they are"

#: Verilog macro of the stricter model, for verification.
COLLISION_NOISE = "WEFT_COLLISION_NOISE"

#: Ports of that module: name, direction, and the width as its parameters give it (None: one bit).
PORTS = (("clk", "input", None), ("write_enable", "input", None), ("write_address", "input", "ADDRESS_BITS"),
         ("write_data", "input", "WIDTH"), ("write_mask", "input", "WIDTH/LANE"), ("read_enable", "input", None),
         ("read_address", "input", "ADDRESS_BITS"), ("read_data", "output", "WIDTH"))

#: Parameters of that module, and their defaults.
PARAMETERS = {"WIDTH": "32", "DEPTH": "16", "LANE": "WIDTH", "ADDRESS_BITS": "4"}


def header(name, parameters=None, read_data="reg"):
    """First lines of a module with these ports and parameters, whose defaults may be given; ``read_data``: reg or wire."""
    values = PARAMETERS | (parameters or {})
    lines = [f"    parameter {parameter} = {value}" for parameter, value in values.items()]
    ports = []
    for port, direction, width in PORTS:
        kind = read_data if direction == "output" else "wire"
        ports.append(f"    {direction:<6} {kind:<4} {f'[{width}-1:0]' if width else '':<18} {port}")
    return f"module {name} #(\n" + ",\n".join(lines) + "\n) (\n" + ",\n".join(ports) + "\n);\n"


#: Verilog of that module.
VERILOG = """\
// One write port with a mask of LANE bits a bit, one read port whose data comes a cycle later and is held while
// read_enable is low. A read sees what was written in earlier cycles.
// A word that is read and written in the same cycle: the lanes whose mask bit is 1 read as anything, nobody uses them;
// the lanes whose mask bit is 0 must read as they are. Only the scratchpad has more than one lane.
// Replace this module to map every memory of the accelerator to SRAM macros. Where a macro promises nothing about a
// word that is being written, take one macro for each lane, written only if the lane's mask bit is 1.
// WEFT_COLLISION_NOISE is for verification: what may read as anything reads as neither the old nor the new data.
""" + header(MODULE) + """\
    (* no_rw_check *)   // spares the logic that yosys adds to define a read of the word being written
    reg [WIDTH-1:0] storage [0:DEPTH-1];
    integer lane;

    always @(posedge clk) begin
        if (write_enable)
            for (lane = 0; lane < WIDTH/LANE; lane = lane + 1)
                if (write_mask[lane])
                    storage[write_address][lane*LANE +: LANE] <= write_data[lane*LANE +: LANE];
        if (read_enable)
            read_data <= storage[read_address];
`ifdef WEFT_COLLISION_NOISE
        if (read_enable && write_enable && read_address == write_address)
            for (lane = 0; lane < WIDTH/LANE; lane = lane + 1)
                if (write_mask[lane])
                    read_data[lane*LANE +: LANE] <=
                        ~(storage[read_address][lane*LANE +: LANE] ^ write_data[lane*LANE +: LANE]);
`endif
    end
endmodule
"""


class OnChipMemory(wiring.Component):
    """A memory with one write port and one read port: an instance of `weft_memory`.

    Data of a read comes one cycle after ``read_enable`` and is held until the next. A read in the cycle after a
    write sees it; of a word that is read and written in the same cycle, the written lanes read as anything, the others
    as they are.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words, at least 2.
    lane : int
        Bits that one bit of ``write_mask`` covers; divides ``width``. Default: the whole word.

    Members
    -------
    write_enable, write_address, write_data, write_mask : In
    read_enable, read_address : In
    read_data : Out(width)
    """

    def __init__(self, width, depth, lane=None):
        lane = width if lane is None else lane
        if width % lane:
            raise ValueError(f"lane={lane} does not divide width={width}")
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        self.width = width
        self.depth = depth
        self.lane = lane
        self.address_bits = (depth - 1).bit_length()
        super().__init__({
            "write_enable": In(1), "write_address": In(self.address_bits), "write_data": In(width),
            "write_mask": In(width // lane),
            "read_enable": In(1), "read_address": In(self.address_bits), "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        ports = {f"i_{name}": getattr(self, name) for name in (
            "write_enable", "write_address", "write_data", "write_mask", "read_enable", "read_address")}
        m.submodules.memory = Instance(
            MODULE, p_WIDTH=self.width, p_DEPTH=self.depth, p_LANE=self.lane, p_ADDRESS_BITS=self.address_bits,
            i_clk=ClockSignal(), **ports, o_read_data=self.read_data)
        return m
