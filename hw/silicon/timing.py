"""Static timing of a mapped netlist by OpenSTA."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError
from ..tools import run_tool

__all__ = ["Timing", "analyze", "read_report"]

#: Paths to this many registers are told in full, worst first.
_PATHS = 400
_SCRIPT = """\
read_liberty cells.lib
read_verilog netlist.v
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
set_input_delay 0 -clock clk [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
report_checks -path_delay max -group_count 2000 -format end
report_checks -path_delay max -group_count {paths} -format full
"""


@dataclass(frozen=True)
class Timing:
    """What OpenSTA says of a period, in ns.

    ``ends``: ``{register or port: slack}`` of at most 2,000 worst paths. ``paths``: ``[(slack, {path of an instance: delay of the
    cells in it})]``, worst first, the top's own under the empty path. ``worst``: the registers of the worst path.
    """
    ends: dict
    paths: list
    worst: str

    @property
    def slack(self):
        return self.paths[0][0]


def read_report(text):
    """The `Timing` that the output of both reports tells, or None."""
    ends = {name: float(value) for name, value in
            re.findall(r"^(\S+) \(\S+\)\s.*?(-?[\d.]+)(?: \((?:VIOLATED|MET)\))?$", text, re.M)}
    paths, names = [], []
    for path in text.split("Startpoint: ")[1:]:
        slack = re.search(r"^\s+(-?[\d.]+)\s+slack", path, re.M)
        end = re.search(r"^Endpoint: (\S+)", path, re.M)
        if not slack or not end:
            return None
        delays = Counter()
        for delay, instance in re.findall(r"^\s+(-?[\d.]+)\s+-?[\d.]+ [v^] (\S+)/\S+ \(", path, re.M):
            delays[instance.rpartition("/")[0]] += float(delay)
        paths.append((float(slack[1]), dict(delays)))
        names.append(f"{path.split()[0]} to {end[1]}")
    return Timing(ends, paths, names[0]) if paths else None


def analyze(netlist, top, folder, period):
    """`Timing` of a `Netlist`, with ``cells.lib`` in ``folder`` as its library; needs sta."""
    folder = Path(folder)
    (folder / "netlist.v").write_text(netlist.verilog(), encoding="utf-8")
    (folder / "timing.tcl").write_text(_SCRIPT.format(top=top, period=period, paths=_PATHS), encoding="utf-8")
    text = run_tool("sta", ["-no_init", "-no_splash", "-exit", "timing.tcl"], folder).output
    (folder / "timing.log").write_text(text, encoding="utf-8")
    found = None if "Error:" in text else read_report(text)
    if found is None:
        raise RunError(f"sta failed ({folder / 'timing.log'}): {text.strip()[-300:]}")
    return found
