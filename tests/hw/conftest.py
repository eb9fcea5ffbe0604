"""Fixtures of the hardware tests."""

import sys
from pathlib import Path

import pytest

from weft.hw import verilog
from weft.hw.errors import InputError
from weft.hw.memory import wrapper
from weft.hw.tools import find_tools, run_tool

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def memory_path_verilog():
    """Sources of the memory path (`memory_path.MemoryPath`, top ``path``) of a configuration."""
    from memory_path import MemoryPath

    def sources(config):
        return {"path.v": verilog.convert(MemoryPath(config), "path") + wrapper.VERILOG}
    return sources


@pytest.fixture(scope="session")
def yosys():
    """``yosys(folder, script)`` runs a script in a folder, and raises RunError where it fails."""
    _skip_without("yosys")
    return lambda folder, script: run_tool("yosys", ["-q", "-l", "yosys.log", "-p", script], folder, "yosys.log")


@pytest.fixture(scope="session")
def nextpnr():
    """``nextpnr(folder, *arguments)`` runs it for an ECP5, and raises RunError where it fails."""
    _skip_without("nextpnr-ecp5")
    return lambda folder, *arguments: run_tool("nextpnr-ecp5", arguments, folder)


def _skip_without(tool):
    try:
        find_tools(tool)
    except InputError as missing:
        pytest.skip(str(missing))
