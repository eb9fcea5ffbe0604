"""Load and store engine, fetch and dispatch against an independent AXI memory, on buses of every shape.

`weft regress` runs the same bench on the whole accelerator (``tests/sim/test_regress.py``).
"""

import json

import pytest

from weft.hw.config import Config
from weft.sim.cocotb_runner import run_benches

CONFIGS = {
    "tiny": Config.named("tiny"),
    "beat of two words": Config(rows=4, cols=4, data_bytes=8, scratchpad_kib=16, accumulator_kib=8),
    "wide beat": Config(rows=8, cols=16, data_bytes=32, scratchpad_kib=32, bursts_in_flight=2),
    "narrow beat": Config(rows=8, cols=8, data_bytes=4, scratchpad_kib=16, index_entries=16),
    "several instructions a beat": Config(rows=16, cols=48, data_bytes=128, scratchpad_kib=64, queue_depth=2),
}
# Each is a build of its own: by default the widest bus; the narrowest is that of the whole accelerator's regressions.
DEFAULT = ("several instructions a beat",)


@pytest.mark.parametrize("name", [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.large)
                                  for name in CONFIGS])
@pytest.mark.parametrize(("bench", "count"), [("bench_dma", 1), ("bench_control", 8)])
def test_memory_path(name, bench, count, memory_path_verilog):
    config = CONFIGS[name]
    passed = run_benches(memory_path_verilog(config), "path", f"weft.sim.cocotb.{bench}", seed=1,
                         env={"WEFT_CONFIG": json.dumps(config.to_dict())})
    assert len(passed) == count
