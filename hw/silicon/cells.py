"""Standard cells: area by block, and the clock before layout."""

import gzip
import json
import re
import shutil
from pathlib import Path

from ..config import Config
from ..errors import RunError
from ..tools import find_tools, run_tool
from ..verilog import TOP, to_verilog
from .liberty import Library
from .netlist import FANOUT, Netlist

__all__ = ["BLOCKS", "block_area", "blocks", "map_component", "measure"]

#: Modules are kept, so that each is mapped once; memories are black boxes. Cells that are no logic are not used.
#: Multipliers are Booth's: a tenth smaller than yosys' own in the array, an eighth in a lane of requantization.
_SCRIPT = """\
read_verilog {source}
blackbox weft_memory
hierarchy -top {top}
synth -booth -top {top} -run coarse:
opt_clean -purge
dfflibmap -liberty cells.lib
abc -liberty cells.lib -dont_use *lpflow* -dont_use *probe* -D {picoseconds} -constr cells.sdc -script map.abc
opt_clean -purge
write_json mapped.json
"""

#: What a module's logic may take of the period, since paths cross modules.
_SHARE = 0.6
#: yosys' own script for a given delay, but without its passes that make logic smaller and adders slow before mapping.
_MAP = """\
strash
dch -f
map -B 0.9 -D {picoseconds}
buffer -c -N {fanout}
topo
upsize -D {picoseconds}
dnsize -D {picoseconds}
"""

#: By block: instances it consists of, below the accelerator, and instances below these that count elsewhere.
BLOCKS = {
    "array": (["tensor/array"], []),
    "weight loader, row streamer": (["tensor"], ["tensor/array"]),
    "softmax": (["vector/softmax"], []),
    "norm": (["vector/requantizer/multipliers", "vector/row_sums", "vector/row_unit"], []),
    "post-processing": (["vector/requantizer"], ["vector/requantizer/multipliers"]),
    "vector engine's control and operands": (["vector"], ["vector/softmax", "vector/row_sums", "vector/row_unit",
                                                          "vector/requantizer"]),
    "load and store engines": (["dma"], []),
    "fetch, dispatch, registers": (["control"], []),
    "memories' ports": (["scratchpad", "accumulators"], []),
}
#: Instances that paths of the clock are told apart by.
_PLACES = ("tensor/array", "tensor", "vector", "dma", "control", "scratchpad", "accumulators")
_TIMING = """\
read_liberty cells.lib
read_verilog netlist.v
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
set_input_delay 0 -clock clk [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
report_checks -path_delay max -group_count 2000 -format end
report_checks -path_delay max -group_count 1 -format full
"""


def map_component(text, top, liberty, folder, picoseconds):
    """Maps the Verilog ``text`` to the cells of a Liberty file (plain or .gz), in ``folder``.

    Returns the `Netlist`, buffers inserted, with seconds of processor time and MiB of memory that yosys took.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    liberty = Path(liberty)
    library_file = folder / "cells.lib"
    if liberty.suffix == ".gz" and liberty.is_file():
        with gzip.open(liberty) as source, open(library_file, "wb") as target:
            shutil.copyfileobj(source, target)
    elif liberty.is_file():
        shutil.copy(liberty, library_file)
    library = Library(library_file if liberty.is_file() else liberty)
    (folder / "source.v").write_text(text, encoding="utf-8")
    (folder / "cells.sdc").write_text(f"set_driving_cell {library.buffer[0]}\nset_load 10.0 [all_outputs]\n", encoding="utf-8")
    (folder / "map.abc").write_text(_MAP.format(picoseconds=round(_SHARE * picoseconds), fanout=FANOUT), encoding="utf-8")
    (folder / "map.ys").write_text(_SCRIPT.format(source="source.v", top=top, picoseconds=picoseconds), encoding="utf-8")
    used = run_tool("yosys", ["-q", "-l", "yosys.log", "map.ys"], folder, "yosys.log")
    modules = json.loads((folder / "mapped.json").read_text(encoding="utf-8"))["modules"]
    modules = {name: module for name, module in modules.items() if not int(module["attributes"].get("blackbox", "0"), 2)}
    netlist = Netlist(modules, library)
    netlist.insert_buffers()
    return netlist, (used.seconds, used.mebibytes)


def block_area(netlist, name, top=TOP, instance=""):
    """Area of a block of `BLOCKS` in a netlist whose module ``top`` is the accelerator, or its ``instance`` (path with a slash at
    the end)."""
    parts, without = BLOCKS[name]

    def total(paths):
        return sum(netlist.area(netlist.child(top, path.removeprefix(instance))) for path in paths)

    return total(parts) - total(without)


def blocks(netlist, top=TOP):
    """``{block: area}`` of `BLOCKS`, and the rest."""
    areas = {name: block_area(netlist, name, top) for name in BLOCKS}
    areas["rest"] = netlist.area(top) - sum(areas.values())
    return areas


def measure(config, liberty, folder, period):
    """Area by block and clock of a configuration, as plain values; ``period``: what mapping aims at, in ns.

    The clock is the one at which OpenSTA finds no slack, with the library's own model of wires and ideal clock; paths to and
    from memories are not part of it, their macros not being known.
    """
    config = Config.load(config)
    find_tools("yosys", "sta")
    netlist, (seconds, mebibytes) = map_component(to_verilog(config), TOP, liberty, folder, round(1000 * period))
    areas = blocks(netlist)
    total = netlist.area(TOP)
    slack, paths, worst = timing(netlist, TOP, folder, period)
    return {
        "config": config.name, "library": Path(liberty).name.split(".")[0], "areas": {n: round(a) for n, a in areas.items()},
        "total": round(total), "array_share": round(areas["array"] / total, 4),
        "area_per_mac": round(total / (config.rows * config.cols), 1),
        "clock_mhz": round(1000 / (period - slack)), "paths": paths, "worst_path": worst,
        "yosys_seconds": seconds, "yosys_mib": mebibytes,
    }


def timing(netlist, top, folder, period):
    """``(slack of the worst path in ns, {places it leads to: slack of the worst such path}, the worst path's registers)``."""
    folder = Path(folder)
    (folder / "netlist.v").write_text(netlist.verilog(), encoding="utf-8")
    (folder / "timing.tcl").write_text(_TIMING.format(top=top, period=period), encoding="utf-8")
    text = run_tool("sta", ["-no_init", "-no_splash", "-exit", "timing.tcl"], folder).output
    (folder / "timing.log").write_text(text, encoding="utf-8")
    ends = re.findall(r"^(\S+) \(\S+\)\s.*?(-?[\d.]+)(?: \(VIOLATED\))?$", text, re.M)
    slack = re.findall(r"^\s+(-?[\d.]+)\s+slack", text, re.M)
    points = re.findall(r"^(?:Startpoint|Endpoint): (\S+)", text, re.M)
    if "Error:" in text or not slack:
        raise RunError(f"sta failed ({folder / 'timing.log'}): {text.strip()[-300:]}")
    paths = {}
    for name, value in ends:
        place = next((place for place in _PLACES if name.startswith(place + "/")), "ports")
        paths[place] = min(float(value), paths.get(place, float("inf")))
    return float(slack[0]), paths, " to ".join(points[:2])
