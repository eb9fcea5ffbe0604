"""ASIC: every memory a black box with a list of them, a wrapper into which macros go, and a configuration for
OpenROAD-flow-scripts."""

import json
import textwrap
from collections import defaultdict

from .. import verilog
from ..memory import wrapper
from ..memory.listing import list_memories
from .interfaces import sdc_clock

__all__ = ["macro_name", "files"]

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

_WRAPPER_HEAD = "// What weft.v instantiates for each memory: chooses the module of weft_macros.v by the shape.\n"

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


def _width(memory, width):
    """Bits of a port of `wrapper.PORTS`, whose width is an expression of the wrapper's parameters."""
    return {"ADDRESS_BITS": memory.address_bits, "WIDTH": memory.width, "WIDTH/LANE": memory.lanes}[width]


def _parameters(memory):
    return {"WIDTH": memory.width, "DEPTH": memory.depth, "LANE": memory.lane, "ADDRESS_BITS": memory.address_bits}


def _ports(memory):
    """The wrapper's ports that a macro of this shape has: a mask only where it has several bits."""
    return [port for port in wrapper.PORTS if port[0] != "write_mask" or memory.lanes > 1]


def _connections(names, indent=0, **given):
    """Connections by name, in lines of their own if there is an indent; ``given``: what a port is connected to, if not to
    the signal of its name."""
    text = ", ".join(f".{name}({given.get(name, name)})" for name in names)
    return "\n" + textwrap.indent(textwrap.fill(text, 110), " " * indent) if indent else text


def _module(memory, body=""):
    ports = ",\n".join(f"    {direction:<6} wire {f'[{_width(memory, width) - 1}:0]' if width else '':<10} {name}"
                       for name, direction, width in _ports(memory))
    return f"module {macro_name(memory)} (\n{ports}\n);\n{body}endmodule\n"


def _model(memory):
    parameters = _connections(_parameters(memory), **_parameters(memory))
    connections = _connections([name for name, *_ in wrapper.PORTS], 8, **({} if memory.lanes > 1 else {"write_mask": "1'b1"}))
    return _module(memory, f"    {wrapper.MODULE}_model #({parameters}) model ({connections});\n")


def _label(memory):
    """Name of the shape's branch in `weft_memory`."""
    return macro_name(memory).removeprefix("weft_")


def _branch(memory):
    enable = {} if memory.lanes > 1 else {"write_enable": "write_enable && write_mask[0]"}
    return (f"if (WIDTH == {memory.width} && DEPTH == {memory.depth} && LANE == {memory.lane}) begin : {_label(memory)}\n"
            f"            {macro_name(memory)} macro ("
            f"{_connections([name for name, *_ in _ports(memory)], 16, **enable)});\n        end")


def _wrapper(shapes):
    head = _WRAPPER_HEAD + wrapper.header(wrapper.MODULE, _parameters(shapes[0]), read_data="wire")
    return f"{head}    generate\n        {' else '.join(map(_branch, shapes))}\n    endgenerate\nendmodule\n"


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
