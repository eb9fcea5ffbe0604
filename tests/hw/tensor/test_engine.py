"""The tensor engine with its memories."""

import json

import pytest

from weft.hw.config import Config
from weft.hw.memory import wrapper
from weft.hw.verilog import convert
from weft.sim.cocotb.tensor_harness import TensorHarness
from weft.sim.cocotb_runner import run_benches

SHAPES = {
    "4x4": dict(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4),
    "12x4": dict(rows=12, cols=4, scratchpad_kib=16, accumulator_kib=4),
    "5x7 four_bit": dict(rows=5, cols=7, scratchpad_kib=8, accumulator_kib=4, scratchpad_banks=2, four_bit=True),
    "12x4 four_bit": dict(rows=12, cols=4, scratchpad_kib=16, accumulator_kib=4, four_bit=True, circulant=(4,)),
    "8x16 circulant": dict(rows=8, cols=16, scratchpad_kib=32, accumulator_kib=8, circulant=(4, 8)),
    "4x4 1:4": dict(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4, sparsity="1:4"),
    "12x4 2:4": dict(rows=12, cols=4, scratchpad_kib=16, accumulator_kib=4, four_bit=True, circulant=(4,), sparsity="2:4"),
}
# Each is a build of its own. "12x4 2:4" runs the benches of these two on an array of their shape; what an engine is like
# without its options, the others show.
LARGE = ("12x4", "12x4 four_bit")


def run(shape, **options):
    config = Config(**SHAPES[shape])
    text = convert(TensorHarness(config), "tensor_harness")
    return run_benches({"tensor.v": text + wrapper.VERILOG}, "tensor_harness", "weft.sim.cocotb.bench_tensor",
                       env={"WEFT_CONFIG": json.dumps(config.to_dict())}, **options)


@pytest.mark.parametrize("shape", [pytest.param(name, marks=pytest.mark.large) if name in LARGE else name for name in SHAPES])
def test_engine_against_numpy(shape):
    config = Config(**SHAPES[shape])
    assert len(run(shape)) == 7 + config.four_bit + 2 * (config.sparsity is not None)


def test_a_filter_runs_no_bench_of_a_missing_option():
    assert run("4x4", test_filter="rate") == ["full_rate"]
