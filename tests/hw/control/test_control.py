"""Registers, dispatch, errors, abort, interrupt."""

import json
import sys
from pathlib import Path

import pytest

from weft.hw.config import Config
from weft.sim.cocotb_runner import run_benches

# cocotb hands sys.path on to the simulation.
sys.path.append(str(Path(__file__).parent))


@pytest.mark.parametrize("name", ["tiny"])
def test_control(name, memory_path_verilog):
    config = Config.named(name)
    passed = run_benches(memory_path_verilog(config), "path", "bench_control", seed=1,
                         env={"WEFT_TEST_CONFIG": json.dumps(config.to_dict())})
    assert len(passed) == 7
