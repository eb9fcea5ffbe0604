"""Mapping to standard cells: every module in several variants by yosys, and the choice among them."""

import gzip
import json
import shutil
from pathlib import Path

from ..memory.wrapper import MODULE
from ..tools import find_tools, run_tool
from .liberty import Library
from .netlist import FANOUT, Netlist
from .timing import analyze

__all__ = ["VARIANTS", "choose", "map_component"]

#: Modules are kept, so that equal ones are mapped once; memories are black boxes. Multipliers are Booth's: a tenth smaller than
#: yosys' own in the array, an eighth in a lane of requantization. Without -noabc yosys would make logic smaller before it is
#: mapped, and ripples of the adders' carries, whose trees make a lane 1.5 times as fast.
_SCRIPT = """\
read_verilog source.v
blackbox {memory}
hierarchy -top {top}
synth -booth -noabc -top {top} -run coarse:
opt_clean -purge
clockgate -liberty cells.lib -min_net_size {gated}
dfflibmap -liberty cells.lib
write_rtlil unmapped.il
"""
#: Registers with the same enable that share a clock gate instead of a multiplexer each: this many bits, or more.
_GATED = 4
#: Cells that are no logic are not used. Each variant is a run of yosys of its own.
_VARIANT = """\
read_rtlil unmapped.il
abc -liberty cells.lib -dont_use *lpflow* -dont_use *probe* -D {picoseconds} -constr cells.sdc -script {name}.abc
opt_clean -purge
write_json {name}.json
"""
#: How ABC maps, by variant, from the smallest to the fastest.
VARIANTS = {"small": "amap", "middle": "map -B 0.9 -a", "fast": "map -B 0.9"}
#: Mapping may leave gates out of order, and buffering then fails.
_ABC = """\
strash
dch -f
{map}
topo
buffer -c -N {fanout}
topo
upsize -D {picoseconds}
dnsize -D {picoseconds}
"""
#: What a module's logic may take of the period, since paths cross modules.
_SHARE = 0.6
#: A module is to blame for a path if this part of it, or more, lies there.
_BLAME = 0.15


def map_component(text, top, liberty, folder, picoseconds, variants=tuple(VARIANTS)):
    """Maps the Verilog ``text`` to the cells of a Liberty file (plain or .gz), in ``folder``, for a clock of that period.

    Returns ``(netlist, (seconds, mebibytes), timing)``: the `Netlist`, buffers inserted, of each module one of the `VARIANTS` that
    are named; what yosys took of processor time and memory; the `Timing`, or None where only one variant is named, since
    nothing is to be chosen then.
    """
    if len(variants) > 1:
        find_tools("yosys", "sta")      # before the minutes that yosys takes
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
    scripts = {"coarse": _SCRIPT.format(memory=MODULE, top=top, gated=_GATED)}
    for name in variants:
        (folder / f"{name}.abc").write_text(_ABC.format(map=VARIANTS[name], picoseconds=round(_SHARE * picoseconds), fanout=FANOUT),
                                            encoding="utf-8")
        scripts[name] = _VARIANT.format(name=name, picoseconds=picoseconds)
    runs = []
    for name, script in scripts.items():
        (folder / f"{name}.ys").write_text(script, encoding="utf-8")
        runs.append(run_tool("yosys", ["-q", "-l", f"{name}.log", f"{name}.ys"], folder, f"{name}.log"))
    used = round(sum(one.seconds for one in runs), 1), max(one.mebibytes for one in runs)
    mapped = []
    for name in variants:
        modules = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["modules"]
        netlist = Netlist({name: module for name, module in modules.items()
                           if not int(module["attributes"].get("blackbox", "0"), 2)}, library)
        netlist.insert_buffers()
        mapped.append(netlist.modules)
    if len(mapped) == 1:
        return netlist, used, None
    netlist, timing = choose(mapped, library, top, lambda netlist: analyze(netlist, top, folder, picoseconds / 1000))
    return netlist, used, timing


def choose(variants, library, top, analyze):
    """The `Netlist` of modules from ``variants``, ``[{name: module}]`` from the smallest to the fastest, and its `Timing`.

    All begin as the smallest. As long as paths are too slow, the modules that they mostly lie in become faster by a step. Of all
    netlists on the way the fastest counts, unless a smaller one meets the period. ``analyze``: gives the `Timing` of a netlist.
    """
    chosen = dict.fromkeys(variants[0], 0)
    best = None
    while True:
        netlist = Netlist({name: variants[step][name] for name, step in chosen.items()}, library)
        timing = analyze(netlist)
        if best is None or timing.slack > best[1].slack:
            best = netlist, timing
        blamed = set()
        for slack, delays in timing.paths:
            if slack < 0:
                limit = _BLAME * sum(delays.values())
                blamed |= {netlist.child(top, place) for place, delay in delays.items() if delay >= limit}
        faster = {name for name in blamed if chosen[name] + 1 < len(variants)}
        if not faster:
            return best
        for name in faster:
            chosen[name] += 1
