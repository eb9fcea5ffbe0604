"""From a configuration to a board's bitstream: ``weft build``."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError
from ..files import write_files
from ..silicon.choice import CHOICE_SCRIPT, choice_files
from ..silicon.ecp5 import OPTIONS, improve, mapping_script, soft_parts
from ..silicon.route import place_and_route
from ..silicon.soft import soft_files, soft_script
from ..tools import find_tools, run_tool
from .core import TOP as CORE
from .core import core_verilog
from .design import design_files

__all__ = ["OPEN_TOOLS", "BuildReport", "build", "write_project", "REPORTS"]

#: What a build by the open tools needs.
OPEN_TOOLS = ("yosys", "nextpnr-ecp5", "ecppack")
_TOP = "top"
#: Files that say what a build came to, beside the bitstream.
REPORTS = {"synthesis": "synthesis.log", "placement": "placement.log", "routing": "routing.log", "figures": "report.json"}
#: What the platform's commands call the logs.
_LOGS = {f"{_TOP}.rpt": REPORTS["synthesis"]}
#: Of nextpnr's arguments in the platform's command those that `place_and_route` gives, with a value and without one.
_VALUES, _FLAGS = ("--seed", "--report", "--log", "--json", "--textcfg"), ("--quiet", "--timing-allow-fail")
#: The names of nextpnr's cells in our report.
_CELLS = {"luts": "TRELLIS_COMB", "registers": "TRELLIS_FF", "multipliers": "MULT18X18D", "blocks": "DP16KD"}


@dataclass(frozen=True)
class BuildReport:
    """Of a build by the open tools: ``bitstream`` (path), ``used`` and ``available`` by kind (luts, registers, multipliers,
    blocks), ``clock_mhz`` reached and ``wanted_mhz``."""
    bitstream: Path
    clock_mhz: float
    wanted_mhz: float
    used: dict
    available: dict


def write_project(design, out_dir, seed=1):
    """Writes everything that the board's tools need into a folder, which is made if need be; returns the paths.

    Raises InputError where amaranth-boards is not installed, and OSError.
    """
    files = design_files(design, _TOP, **_overrides(design, seed))
    if design.board.tools == "ecp5":
        files |= choice_files(files[f"{CORE}.v"]) | soft_files()
    return write_files(out_dir, files)


def _overrides(design, seed):
    """What the platform's templates for the open tools say besides; the one for Vivado takes none of it."""
    if design.board.tools != "ecp5":
        return {}
    text = core_verilog(design.config, design.memory_bytes, design.divisor, design.clock_hz)
    soft = soft_script(text, *soft_parts(design.config, design.board.multipliers, CORE))
    return {"script_after_read": f"{CHOICE_SCRIPT}\nhierarchy -top {_TOP}\n{soft}",
            "synth_opts": OPTIONS, "script_after_synth": mapping_script(_TOP),
            "nextpnr_opts": f"--seed {seed} --timing-allow-fail --report {REPORTS['figures']}"}


def build(design, out_dir, seed=1, progress=None):
    """Makes the bitstream of an ECP5 board, ``top.bit`` (and ``top.svf`` for JTAG), and reports, in a folder.

    ``progress(text)`` is told what is being done. Raises InputError for tools that are missing, before anything is made,
    and RunError where the design does not fit, the clock is missed or a tool fails; the reports (`REPORTS`) stay in the
    folder, the bitstream does not.
    """
    say = progress or (lambda text: None)
    find_tools(*OPEN_TOOLS)
    folder = Path(out_dir)
    write_project(design, folder, seed)
    for name in (*REPORTS.values(), "top.bit", "top.svf", "top.config", "top.json", "placed.json", "refined.json", "routed.json"):
        (folder / name).unlink(missing_ok=True)
    script = json.loads((folder / f"build_{_TOP}.json").read_text(encoding="utf-8"))
    commands = {tool: [_LOGS.get(word, word) for word in words] for tool, *words in script["commands"]}

    say("synthesizing")
    run_tool("yosys", commands["yosys"], folder, REPORTS["synthesis"])
    improve(folder / f"{_TOP}.json", design.board.fpga)
    say("placing and routing")
    place_and_route(folder, f"{_TOP}.json", _device(commands["nextpnr-ecp5"]), design.clock_hz / 1e6, seed,
                    ["--report", REPORTS["figures"], "--textcfg", f"{_TOP}.config"],
                    tell=lambda text: say(f"placed: {text}"))
    report = _report(folder, design)
    if report.clock_mhz < report.wanted_mhz:
        (folder / "top.config").unlink()
        raise RunError(f"the clock is missed: {report.clock_mhz:.2f} MHz of {report.wanted_mhz:g} (the critical path is in "
                       f"{folder / REPORTS['routing']}); a lower --clock-mhz or another --seed may do")
    say("packing")
    run_tool("ecppack", commands["ecppack"], folder)
    return report


def _device(words):
    """Of nextpnr's arguments in the platform's command those for device and pins."""
    words, kept = iter(words), []
    for word in words:
        if word in _VALUES:
            next(words)
        elif word not in _FLAGS:
            kept.append(word)
    return kept


def _report(folder, design):
    figures = json.loads((folder / REPORTS["figures"]).read_text(encoding="utf-8"))
    # The oscillator's own net has no path where a PLL is used.
    achieved = min((clock["achieved"] for clock in figures["fmax"].values()), default=0.0)
    cells = {name: figures["utilization"].get(cell, {"used": 0, "available": 0}) for name, cell in _CELLS.items()}
    return BuildReport(folder / "top.bit", achieved, design.clock_hz / 1e6, {n: c["used"] for n, c in cells.items()},
                       {n: c["available"] for n, c in cells.items()})
