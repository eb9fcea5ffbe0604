"""ECP5: what the accelerator takes of an LFE5U-85F, and its clock."""

import json
from pathlib import Path
from statistics import median

from ..config import Config
from ..tools import find_tools, run_tool
from ..verilog import TOP, to_verilog

__all__ = ["MULTIPLIERS", "SOFT_SCRIPT", "clock", "hard_multipliers", "lane_multipliers", "measure", "shape", "soft_modules"]

#: 18x18 multipliers of an LFE5U-85F.
MULTIPLIERS = 156
_DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6")

#: Modules are kept until all are mapped, so that each is mapped once.
_SCRIPT = """\
read_verilog source.v
hierarchy -top {top}
{soft}
synth_ecp5 -noflatten -top {top} -run begin:json
flatten
opt_clean -purge
tee -q -o cells.json stat -json
write_json netlist.json
"""
#: Makes adders of a module's multipliers, so that they become LUTs.
SOFT_SCRIPT = "proc\nopt\nwreduce\nalumacc {modules}\nmaccmap {modules}\nopt"
#: Multipliers of the row unit and of addresses.
_OTHERS = 11


def hard_multipliers(config):
    """Multipliers of array, row unit and addresses, which do not become LUTs."""
    return config.rows * config.cols + _OTHERS


def lane_multipliers(config, top=TOP):
    """``{module: multipliers}`` of lanes, two each for requantization, in Verilog with the top module ``top``."""
    return {f"{top}_requantize_lane": 2 * config.vector_lanes, f"{top}_products": config.norm_lanes}


def soft_modules(config, available=MULTIPLIERS, top=TOP):
    """Modules whose multipliers become LUTs, because the device has too few for all: lanes first."""
    parts = lane_multipliers(config, top)
    wanted, soft = hard_multipliers(config) + sum(parts.values()), []
    for module, count in parts.items():
        if wanted > available:
            soft.append(module)
            wanted -= count
    return soft


def synthesize(config, folder):
    """Writes ``netlist.json`` in ``folder``; returns the `soft_modules`, and seconds of processor time and MiB of memory that
    yosys took."""
    config = Config.load(config)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    soft = soft_modules(config)
    (folder / "source.v").write_text(to_verilog(config), encoding="utf-8")
    script = _SCRIPT.format(top=TOP, soft=SOFT_SCRIPT.format(modules=" ".join(soft)) if soft else "")
    (folder / "map.ys").write_text(script, encoding="utf-8")
    used = run_tool("yosys", ["-q", "-l", "yosys.log", "map.ys"], folder, "yosys.log")
    return soft, (used.seconds, used.mebibytes)


def clock(folder, seed, target_mhz=100):
    """Places and routes ``netlist.json`` of a folder; nextpnr's report as a dict. More ports than pins: no bitstream."""
    report, log = f"report-{seed}.json", f"nextpnr-{seed}.log"
    run_tool("nextpnr-ecp5", [*_DEVICE, "--out-of-context", "--json", "netlist.json", "--freq", target_mhz, "--seed", seed,
                              "--timing-allow-fail", "--report", report, "-q", "-l", log], folder, log)
    return json.loads((Path(folder) / report).read_text(encoding="utf-8"))


def counts(folder):
    """Cells by type in the netlist of a folder."""
    found = json.loads((Path(folder) / "cells.json").read_text(encoding="utf-8"))
    return found["design"]["num_cells_by_type"]


def shape(config):
    """ROWSxCOLS and the options of a configuration."""
    return " ".join([f"{config.rows}x{config.cols}", *config.name.split(" ")[1:]])


def measure(config, folder, seeds=(1, 2, 3), target_mhz=100, tell=print):
    """What a configuration takes and its clock for each seed, as plain values; needs yosys and nextpnr-ecp5. Without seeds
    nothing is placed, and LUTs are those that yosys counts."""
    config = Config.load(config)
    name = shape(config)
    find_tools("yosys", *["nextpnr-ecp5"] * bool(seeds))        # before the minutes that yosys takes
    tell(f"{name}: yosys")
    soft, (seconds, mebibytes) = synthesize(config, folder)
    cells = counts(folder)
    result = {
        "config": name, "multipliers": cells.get("MULT18X18D", 0), "soft_multipliers": bool(soft),
        # A carry cell is two LUTs, 16 words of 4 bits are four and two that write.
        "luts": cells["LUT4"] + 2 * cells.get("CCU2C", 0) + 6 * cells.get("TRELLIS_DPR16X4", 0),
        "registers": cells["TRELLIS_FF"], "block_ram": cells.get("DP16KD", 0), "clock_mhz": None, "clocks": {},
        "yosys_seconds": seconds, "yosys_mib": mebibytes,
    }
    clocks, report = {}, None
    for seed in seeds:
        tell(f"{name}: nextpnr, seed {seed}")
        report = clock(folder, seed, target_mhz)
        clocks[seed] = round(min(value["achieved"] for value in report["fmax"].values()), 1)
    if not seeds:
        return result
    used = {name: value["used"] for name, value in report["utilization"].items()}
    worst = max(report["critical_paths"], key=lambda path: sum(step["delay"] for step in path["path"]))
    ends = [worst["path"][0]["from"]["cell"], worst["path"][-1]["to"]["cell"]]
    return result | {
        "luts": used["TRELLIS_COMB"], "registers": used["TRELLIS_FF"],
        "clock_mhz": median(clocks.values()), "clocks": clocks, "critical_path": " to ".join(ends),
    }
