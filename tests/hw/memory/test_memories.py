"""Scratchpad and accumulators."""

import json

import pytest

from weft.hw.config import Config
from weft.hw.memory import wrapper
from weft.hw.memory.accumulators import Accumulators
from weft.hw.memory.scratchpad import Scratchpad
from weft.hw.verilog import convert
from weft.sim.cocotb_runner import run_benches

SHAPES = {
    "4x4": dict(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4),
    "5x7": dict(rows=5, cols=7, scratchpad_kib=8, accumulator_kib=4, scratchpad_banks=1, accumulator_banks=2),
}
READS, WRITES = ["rows", "weights", "vector_a", "vector_b", "store"], ["vector", "load"]


def run(component, name, bench, config):
    text = convert(component, name)
    return run_benches({f"{name}.v": text + wrapper.VERILOG}, name, f"weft.sim.cocotb.{bench}",
                       env={"WEFT_CONFIG": json.dumps(config.to_dict())})


@pytest.mark.parametrize("shape", SHAPES)
def test_scratchpad_against_numpy(shape):
    config = Config(**SHAPES[shape])
    assert run(Scratchpad(config, READS, WRITES), "scratchpad", "bench_scratchpad", config)


def test_accumulators_against_numpy():
    config = Config(**SHAPES["5x7"])
    assert run(Accumulators(config), "accumulators", "bench_accumulators", config)
