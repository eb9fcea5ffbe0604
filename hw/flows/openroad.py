"""ASIC: every memory a black box with a list of them, a wrapper into which macros go, and a configuration for
OpenROAD-flow-scripts."""

import json
from collections import defaultdict

from .. import verilog
from ..memory import wrapper
from ..memory.listing import list_memories
from .interfaces import sdc_clock

__all__ = ["macro_name", "files"]

_MACRO = """\
module {name} (
    input  wire {bit:<10} clk,
    input  wire {bit:<10} write_enable,
    input  wire {address:<10} write_address,
    input  wire {data:<10} write_data,
{mask}    input  wire {bit:<10} read_enable,
    input  wire {address:<10} read_address,
    output wire {data:<10} read_data
);
{body}endmodule
"""

# A black box uses nothing and drives nothing; one file holds all.
_WAIVERS = "".join(f"// verilator lint_off {rule}\n" for rule in ("DECLFILENAME", "UNUSEDSIGNAL", "UNDRIVEN"))

_MACROS_HEAD = _WAIVERS + """\
// The memories of the accelerator, one module for each shape, as black boxes. Give each of them its macro: either in a
// library (LEF, Liberty, GDS) whose cell has this name and these pins, and then this file is all there is to synthesize,
// or by an instance of your macro in place of the empty body. One clock, one write port, one read port whose data comes a
// cycle later and is held while read_enable is low; a read sees what was written in earlier cycles. Contents after power-on are
// arbitrary. Of a word that is read and written in one cycle, lanes whose mask bit is 0 must read as they are, the others
// may read as anything; where a macro promises nothing, take one for each lane, written only if the lane's mask bit is 1.

"""

_MODELS_HEAD = _WAIVERS + """\
// Models of the memories for simulation, in place of weft_macros.v.

"""

_MODEL_BODY = """\
    weft_memory_model #(.WIDTH({width}), .DEPTH({depth}), .LANE({lane}), .ADDRESS_BITS({bits})) model (
        .clk(clk), .write_enable(write_enable), .write_address(write_address), .write_data(write_data),
        .write_mask({mask}), .read_enable(read_enable), .read_address(read_address), .read_data(read_data));
"""

_WRAPPER_HEAD = """\
// What weft.v instantiates for each memory: chooses the module of weft_macros.v by the shape.
module weft_memory #(
    parameter WIDTH = {width},
    parameter DEPTH = {depth},
    parameter LANE = {lane},
    parameter ADDRESS_BITS = {bits}
) (
    input  wire                    clk,
    input  wire                    write_enable,
    input  wire [ADDRESS_BITS-1:0] write_address,
    input  wire [WIDTH-1:0]        write_data,
    input  wire [WIDTH/LANE-1:0]   write_mask,
    input  wire                    read_enable,
    input  wire [ADDRESS_BITS-1:0] read_address,
    output wire [WIDTH-1:0]        read_data
);
    generate
"""

_BRANCH = """\
if (WIDTH == {width} && DEPTH == {depth} && LANE == {lane}) begin : {label}
            {name} macro (
                .clk(clk), .write_enable({enable}), .write_address(write_address), .write_data(write_data),
                {mask}.read_enable(read_enable), .read_address(read_address), .read_data(read_data));
        end"""

_CONFIG = """\
# OpenROAD-flow-scripts: make DESIGN_CONFIG=<this file>
# Libraries of the macros named in memories.json go into the folder macros beside this file.
export DESIGN_NAME = weft
export DESIGN_NICKNAME = weft
export PLATFORM ?= nangate45

WEFT_DIR := $(dir $(lastword $(MAKEFILE_LIST)))
export VERILOG_FILES = $(WEFT_DIR)weft.v $(WEFT_DIR)weft_memory.v $(WEFT_DIR)weft_macros.v
export SDC_FILE = $(WEFT_DIR)weft.sdc

export ADDITIONAL_LEFS = $(wildcard $(WEFT_DIR)macros/*.lef)
export ADDITIONAL_LIBS = $(wildcard $(WEFT_DIR)macros/*.lib)
export ADDITIONAL_GDS = $(wildcard $(WEFT_DIR)macros/*.gds)

# Equal modules are written once; flattening them takes long and gains little.
export SYNTH_HIERARCHICAL = 1
export CORE_UTILIZATION = 40
export PLACE_DENSITY_LB_ADDON = 0.10
export MACRO_PLACE_HALO = 10 10
"""

_SDC_DELAYS = """\
# Times are in ns; a library in ps (asap7) needs a thousand times that. Ports have registers on both sides, and a fifth of
# the period for the way.
set_input_delay {delay} -clock clk [lsearch -inline -all -not -exact [all_inputs] [get_ports clk]]
set_output_delay {delay} -clock clk [all_outputs]
"""


def macro_name(memory):
    """Name of a shape's module: words, bits, and the lanes if there are several."""
    lanes = f"_m{memory.lanes}" if memory.lanes > 1 else ""
    return f"weft_ram_{memory.depth}x{memory.width}{lanes}"


def _module(memory, body=""):
    mask = f"    input  wire {f'[{memory.lanes - 1}:0]':<10} write_mask,\n" if memory.lanes > 1 else ""
    return _MACRO.format(name=macro_name(memory), bit="", address=f"[{memory.address_bits - 1}:0]",
                         data=f"[{memory.width - 1}:0]", mask=mask, body=body)


def _model(memory):
    mask = "write_mask" if memory.lanes > 1 else "1'b1"
    return _module(memory, _MODEL_BODY.format(width=memory.width, depth=memory.depth, lane=memory.lane,
                                              bits=memory.address_bits, mask=mask))


def _label(memory):
    """Name of the shape's branch in `weft_memory`."""
    return macro_name(memory).removeprefix("weft_")


def _branch(memory):
    several = memory.lanes > 1
    return _BRANCH.format(width=memory.width, depth=memory.depth, lane=memory.lane, name=macro_name(memory),
                          label=_label(memory), enable="write_enable" if several else "write_enable && write_mask[0]",
                          mask=".write_mask(write_mask), " if several else "")


def _wrapper(shapes):
    first = shapes[0]
    head = _WRAPPER_HEAD.format(width=first.width, depth=first.depth, lane=first.lane, bits=first.address_bits)
    return f"{head}        {' else '.join(map(_branch, shapes))}\n    endgenerate\nendmodule\n"


def _list(instances):
    """``memories.json``: one entry for each shape."""
    places = defaultdict(list)
    for path, memory in instances:
        places[memory].append(f"{path}.{_label(memory)}.macro")
    return [{"name": macro_name(memory), "words": memory.depth, "width": memory.width, "bits": memory.depth * memory.width,
             "ports": {"write": 1, "read": 1, "clocks": 1},
             "write_mask": {"bits": memory.lanes, "lane": memory.lane} if memory.lanes > 1 else None,
             "count": len(paths), "instances": paths}
            for memory, paths in sorted(places.items(), reverse=True)]


def files(config, files, clock_mhz):
    """``weft.v`` without its memory module; ``weft_memory.v``, ``weft_macros.v``, ``weft_models.v``, ``memories.json``,
    ``weft.sdc`` and ``config.mk`` beside it."""
    text = files["weft.v"]
    instances = list_memories(text, verilog.TOP)
    shapes = sorted({memory for _, memory in instances}, reverse=True)
    model = wrapper.VERILOG.replace(f"module {wrapper.MODULE} ", f"module {wrapper.MODULE}_model ")
    return {
        **files, "weft.v": text.replace("\n" + wrapper.VERILOG, ""),
        "weft_memory.v": _wrapper(shapes),
        "weft_macros.v": _MACROS_HEAD + "\n".join("(* blackbox *)\n" + _module(memory) for memory in shapes),
        "weft_models.v": _MODELS_HEAD + "\n".join(map(_model, shapes)) + "\n" + model,
        "memories.json": json.dumps(_list(instances), indent=2) + "\n",
        "weft.sdc": sdc_clock(clock_mhz) + _SDC_DELAYS.format(delay=f"{200 / clock_mhz:.3f}"),
        "config.mk": _CONFIG,
    }
