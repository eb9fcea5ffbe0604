"""From a configuration to a board's bitstream: ``weft build``."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError
from ..silicon.ecp5 import SOFT_SCRIPT, soft_modules
from .core import TOP as CORE
from .design import design_files
from .tools import find_tools, run_tool

__all__ = ["BuildReport", "build", "write_project", "REPORTS"]

_TOP = "top"
#: Files that say what a build came to, beside the bitstream.
REPORTS = {"synthesis": "synthesis.log", "routing": "routing.log", "figures": "report.json"}
#: The names of nextpnr's cells in our report.
_CELLS = {"luts": "TRELLIS_COMB", "registers": "TRELLIS_FF", "multipliers": "MULT18X18D", "blocks": "DP16KD"}
_SYNTHESIS = """\
read_verilog {core}.v
read_rtlil {top}.il
hierarchy -top {top}
{soft}
synth_ecp5 -top {top} -json {top}.json
"""


@dataclass(frozen=True)
class BuildReport:
    """Of a build by the open tools: ``bitstream`` (path), ``used`` and ``available`` by kind (luts, registers, multipliers,
    blocks), ``clock_mhz`` reached and ``wanted_mhz``."""
    bitstream: Path
    clock_mhz: float
    wanted_mhz: float
    used: dict
    available: dict


def write_project(design, out_dir):
    """Writes everything that the board's tools need into a folder, which is made if need be; returns the paths.

    Raises InputError where amaranth-boards is not installed, and OSError.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in design_files(design, _TOP).items():
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        written.append(path)
    return written


def build(design, out_dir, seed=1, progress=None):
    """Makes the bitstream of an ECP5 board, ``top.bit`` (and ``top.svf`` for JTAG), and reports, in a folder.

    ``progress(text)`` is told what is being done. Raises InputError for tools that are missing, before anything is made,
    and RunError where the design does not fit, the clock is missed or a tool fails; the reports (`REPORTS`) stay in the
    folder, the bitstream does not.
    """
    say = progress or (lambda text: None)
    tools = find_tools()
    folder = Path(out_dir)
    write_project(design, folder)
    for name in (*REPORTS.values(), "top.bit", "top.svf", "top.config", "top.json"):
        (folder / name).unlink(missing_ok=True)
    soft = soft_modules(design.config, design.board.multipliers, CORE)
    (folder / "top.ys").write_text(_SYNTHESIS.format(core=CORE, top=_TOP, soft=SOFT_SCRIPT.format(
        modules=" ".join(soft)) if soft else ""), encoding="utf-8")

    say("synthesizing")
    _run(tools["yosys"], ["-q", "-l", REPORTS["synthesis"], "top.ys"], folder, "yosys", REPORTS["synthesis"])
    say("placing and routing")
    platform = _platform_options((folder / "build_top.sh").read_text(encoding="utf-8"))
    _run(tools["nextpnr-ecp5"], ["--quiet", "--log", REPORTS["routing"], *platform, "--seed", seed, "--timing-allow-fail",
                                 "--report", REPORTS["figures"], "--json", "top.json", "--lpf", "top.lpf", "--textcfg",
                                 "top.config"], folder, "nextpnr-ecp5", REPORTS["routing"])
    report = _report(folder, design)
    if report.clock_mhz < report.wanted_mhz:
        (folder / "top.config").unlink()
        raise RunError(f"the clock is missed: {report.clock_mhz:.2f} MHz of {report.wanted_mhz:g} (the critical path is in "
                       f"{folder / REPORTS['routing']}); a lower --clock-mhz or another --seed may do")
    say("packing")
    _run(tools["ecppack"], ["--compress", "--input", "top.config", "--bit", "top.bit", "--svf", "top.svf"], folder, "ecppack",
         None)
    return report


def _platform_options(script):
    """Device, package and speed grade, as the board's platform tells them to nextpnr."""
    (line,) = re.findall(r'^"\$NEXTPNR_ECP5" (.*)$', script, re.M)
    return re.findall(r"--(?:um5g-|um-)?\d+k|--(?:package|speed) \S+", line)


def _run(executable, arguments, folder, name, log):
    words = [word for argument in arguments for word in str(argument).split(" ")]
    status, output = run_tool(executable, words, folder)
    if status == 0:
        return
    if log is not None and (folder / log).is_file():
        output = (folder / log).read_text(encoding="utf-8", errors="replace") or output
    told = [line for line in output.splitlines() if "ERROR" in line] or output.splitlines()[-1:] or [f"exit status {status}"]
    kept = f"; its log is {folder / log}" if log is not None else ""
    raise RunError(f"{name} failed: {told[0].strip()}{kept}")


def _report(folder, design):
    figures = json.loads((folder / REPORTS["figures"]).read_text(encoding="utf-8"))
    # The oscillator's own net has no path where a PLL is used.
    achieved = min((clock["achieved"] for clock in figures["fmax"].values()), default=0.0)
    cells = {name: figures["utilization"].get(cell, {"used": 0, "available": 0}) for name, cell in _CELLS.items()}
    return BuildReport(folder / "top.bit", achieved, design.clock_hz / 1e6, {n: c["used"] for n, c in cells.items()},
                       {n: c["available"] for n, c in cells.items()})
