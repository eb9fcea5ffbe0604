"""The vector engine and its parts under random back-pressure in cocotb; `weft regress` runs the same benches."""

import json

import pytest

from weft.hw.config import Config
from weft.hw.memory import wrapper
from weft.hw.verilog import convert
from weft.sim.cocotb.vector_harness import VectorHarness, VectorPartsHarness
from weft.sim.cocotb_runner import run_benches

CONFIG = Config(rows=4, cols=8, vector_lanes=2, norm_lanes=1, division_units=2, scratchpad_kib=16, accumulator_kib=8)


@pytest.mark.parametrize(("harness", "bench", "count"), [(VectorHarness, "bench_vector", 4),
                                                         (VectorPartsHarness, "bench_vector_parts", 13)])
def test_vector_benches(harness, bench, count):
    sources = {"harness.v": convert(harness(CONFIG), "harness") + wrapper.VERILOG}
    passed = run_benches(sources, "harness", f"weft.sim.cocotb.{bench}",
                         env={"WEFT_CONFIG": json.dumps(CONFIG.to_dict())})
    assert len(passed) == count
