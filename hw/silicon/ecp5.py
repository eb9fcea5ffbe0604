"""ECP5: what the accelerator takes of an LFE5U-85F, and its clock."""

import json
from collections import Counter
from pathlib import Path
from statistics import median, median_low

from ..config import Config
from ..tensor.array import SystolicArray
from ..tools import find_tools, run_tool
from ..verilog import TOP, convert, describe, list_ports, to_verilog
from .carries import release_constants
from .choice import CHOICE_SCRIPT, choice_files
from .distributed_ram import release_addresses
from .floorplan import assign_sites
from .frame import CORE, FRAME, frame
from .multipliers import absorb_registers, align_left
from .route import place_and_route
from .soft import soft_files, soft_script

__all__ = ["MULTIPLIERS", "OPTIONS", "clock", "hard_multipliers", "improve", "lane_multipliers", "mapping_script", "measure",
           "shape", "soft_parts"]

#: 18x18 multipliers of an LFE5U-85F.
MULTIPLIERS = 156
_DEVICE_NAME = "LFE5U-85F"
_DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6", "--lpf-allow-unconstrained")

_SCRIPT = """\
read_verilog source.v
{choice}
hierarchy -top {top}
{soft}
synth_ecp5 {options} -top {top}
{mapping}
write_json netlist.json
"""
#: Flat, and by the mapper that knows delays: a quarter fewer LUTs than with modules kept, and a third fewer in a row.
OPTIONS = "-abc9 -run begin:map_luts"
#: Picoseconds of a wire between LUTs, as nextpnr routes the accelerator; `synth_ecp5` lets the mapper count on 300.
_WIRE = 1000
#: What follows. Names only for what `floorplan` looks at and for registers, of which nextpnr tells: all of them take minutes.
_MAPPING = """\
abc9 -W {wire}
clean
synth_ecp5 -abc9 -top {top} -run map_cells:check
autoname t:MULT18X18D t:DP16KD t:TRELLIS_FF
blackbox =A:whitebox
opt_clean -purge"""
#: Multipliers of the row unit and of addresses, of which those by constants are none (`soft_script`).
_OTHERS = 9
#: Those of the load and the store engine's addresses among them.
_ADDRESSES = {"dma_front_end": 4, "store_engine_front": 2}


def hard_multipliers(config):
    """Multipliers of array, row unit and addresses: as many a device has to have."""
    return config.rows * config.cols + _OTHERS


def lane_multipliers(config, top=TOP):
    """``{module: multipliers}`` of lanes, two each for requantization, in Verilog with the top module ``top``."""
    return {f"{top}_requantize_lane": 2 * config.vector_lanes, f"{top}_products": config.norm_lanes}


def soft_parts(config, available=MULTIPLIERS, top=TOP):
    """``(places, modules)`` whose multipliers become LUTs, because the device has too few for all: the last places of the array
    (rows, or pairs of rows) first, whose multipliers are the smallest and have registers around them, then lanes, the engines'
    addresses last."""
    lanes = lane_multipliers(config, top)
    wanted = hard_multipliers(config) + sum(lanes.values())
    pitch = 2 if config.activation_lanes else 1         # as `SystolicArray` has it
    each, places = pitch * config.cols, config.rows // pitch
    soft = min(places, -(-max(0, wanted - available) // each))
    wanted, modules = wanted - soft * each, []
    for module, count in (lanes | {f"{top}_{name}": count for name, count in _ADDRESSES.items()}).items():
        if wanted > available:
            modules.append(module)
            wanted -= count
    return range(places - soft, places), modules


def core(config, array=False):
    """``(module, Verilog, ports, lines for yosys by which multipliers become LUTs)`` of an accelerator, or of its array alone."""
    if array:
        component = SystolicArray(config.rows, config.cols, config.activation_lanes)
        return "array", convert(component, "array"), [*list_ports(component), ("rst", False, 1)], soft_script()
    ports = [(port["name"], port["direction"] == "output", port["width"]) for port in describe(config)["ports"]]
    text = to_verilog(config)
    return TOP, text, ports, soft_script(text, *soft_parts(config))


def mapping_script(top):
    """Lines for yosys behind `synth_ecp5` with the `OPTIONS`, to the netlist that `improve` takes."""
    return _MAPPING.format(wire=_WIRE, top=top)


def synthesize(config, folder, array=False):
    """Writes ``netlist.json`` in ``folder``, unless it is there already, made of the same; without it nothing else there counts.

    Returns the registers of the frame, and seconds of processor time and MiB of memory that yosys took.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module, text, ports, soft = core(config, array)
    around, registers = frame(module, ports)
    script = _SCRIPT.format(top=FRAME, options=OPTIONS, mapping=mapping_script(FRAME), choice=CHOICE_SCRIPT,
                            soft=soft)
    files = {"source.v": f"{text}\n{around}", "map.ys": script, **choice_files(text), **soft_files()}
    done = folder / "yosys.json"
    if not done.is_file() or any((folder / name).read_text(encoding="utf-8") != content for name, content in files.items()):
        for old in [done, *folder.glob("report-*.json")]:
            old.unlink(missing_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        used = run_tool("yosys", ["-q", "-l", "yosys.log", "map.ys"], folder, "yosys.log")
        cells = Counter(cell["type"] for cell in improve(folder / "netlist.json", _DEVICE_NAME)["modules"][FRAME]["cells"].values())
        (folder / "cells.json").write_text(json.dumps(cells), encoding="utf-8")
        done.write_text(json.dumps([used.seconds, used.mebibytes]), encoding="utf-8")
    return registers, json.loads(done.read_text(encoding="utf-8"))


def improve(path, device):
    """Puts the cells of a netlist that yosys wrote for an ECP5 to better use than yosys does (`multipliers`, `carries`,
    `distributed_ram`), and tells nextpnr where in the ``device`` some stand (`floorplan`); what the netlist computes stays. The
    file is replaced; returns the netlist as a dict."""
    netlist = json.loads(Path(path).read_text(encoding="utf-8"))
    align_left(netlist)
    absorb_registers(netlist)
    release_constants(netlist)
    release_addresses(netlist)
    assign_sites(netlist, device)
    Path(path).write_text(json.dumps(netlist), encoding="utf-8")
    return netlist


def counts(folder, registers):
    """Cells by type in the netlist of a folder, without the frame's registers."""
    found = json.loads((Path(folder) / "cells.json").read_text(encoding="utf-8"))
    return found | {"TRELLIS_FF": found["TRELLIS_FF"] - registers}


def shape(config, array=False):
    """ROWSxCOLS and the options of a configuration."""
    words = [f"{config.rows}x{config.cols}", *config.name.split(" ")[1:]]
    return " ".join(words) + ", the array alone" * array


def clock(folder, seed, target_mhz=100, placer="static", tell=lambda text: None):
    """Places and routes ``netlist.json`` of a folder, unless that has been done; nextpnr's report as a dict."""
    folder, run = Path(folder), f"{seed}-{target_mhz:g}"
    report, unfinished = (folder / f"{name}-{run}.json" for name in ("report", "unfinished"))
    if not report.is_file():
        place_and_route(folder, "netlist.json", _DEVICE, target_mhz, seed, ["--report", unfinished.name], run, placer, tell)
        unfinished.rename(report)
    return json.loads(report.read_text(encoding="utf-8"))


def measure(config, folder, seeds=(1, 2, 3), target_mhz=100, tell=print, array=False):
    """Yields what a configuration, or its ``array`` alone, takes: plain values, first what yosys says, then after each seed what
    is known by then. Needs yosys, and nextpnr-ecp5 where there are seeds. What the folder has of the same netlist is not done
    again, and its other seeds count as well.
    """
    config = Config.load(config)
    name = shape(config, array)
    find_tools("yosys", *["nextpnr-ecp5"] * bool(seeds))        # before the minutes that yosys takes
    tell(f"{name}: yosys")
    registers, (seconds, mebibytes) = synthesize(config, folder, array)
    cells = counts(folder, registers)
    result = {
        "config": name, "multipliers": cells.get("MULT18X18D", 0),
        "soft_multipliers": not array and any(map(len, soft_parts(config))),
        # A carry cell is two LUTs, 16 words of 4 bits are four and two that write.
        "luts": cells["LUT4"] + 2 * cells.get("CCU2C", 0) + 6 * cells.get("TRELLIS_DPR16X4", 0),
        "registers": cells["TRELLIS_FF"], "block_ram": cells.get("DP16KD", 0), "clock_mhz": None, "clocks": {},
        "yosys_seconds": seconds, "yosys_mib": mebibytes,
    }
    yield result | routed(folder, registers, target_mhz)
    for seed in seeds:
        tell(f"{name}: nextpnr, seed {seed}")
        # A whole accelerator is routed in minutes only where cells are spread evenly; an array alone is faster if drawn together.
        clock(folder, seed, target_mhz, "heap" if array else "static", lambda text: tell(f"{name}: {text}"))
        yield result | routed(folder, registers, target_mhz)


def routed(folder, registers, target_mhz):
    """What the reports of a folder say of cells and clock: median of the seeds, and the ends of the median's longest path;
    nothing without reports."""
    found = {}
    for path in Path(folder).glob(f"report-*-{target_mhz:g}.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        found[int(path.name.split("-")[1])] = min(value["achieved"] for value in report["fmax"].values()), report
    if not found:
        return {}
    clocks = {seed: round(found[seed][0], 1) for seed in sorted(found)}
    middle = median_low(clocks.values())
    _, report = found[next(seed for seed, clock in clocks.items() if clock == middle)]
    worst = max((path for path in report["critical_paths"] if path["from"] != "<async>"),
                key=lambda path: sum(step["delay"] for step in path["path"]))
    ends = [worst["path"][0]["from"]["cell"], worst["path"][-1]["to"]["cell"]]
    used = {name: value["used"] for name, value in report["utilization"].items()}
    return {"luts": used["TRELLIS_COMB"], "registers": used["TRELLIS_FF"] - registers, "clock_mhz": median(clocks.values()),
            "clocks": clocks, "critical_path": " to ".join(end.removeprefix(f"{CORE}.") for end in ends)}
