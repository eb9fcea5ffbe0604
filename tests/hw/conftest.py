"""Fixtures of the hardware tests."""

import sys
from pathlib import Path

import pytest

from weft.hw import verilog
from weft.hw.memory import wrapper

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def memory_path_verilog():
    """Sources of the memory path (`memory_path.MemoryPath`, top ``path``) of a configuration."""
    from memory_path import MemoryPath

    def sources(config):
        return {"path.v": verilog.convert(MemoryPath(config), "path") + wrapper.VERILOG}
    return sources
