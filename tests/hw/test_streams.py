"""Queue, MemoryQueue, StreamBuffer and SkidBuffer; `weft regress` runs their bench (``tests/sim/test_regress.py``)."""

import pytest

from weft.hw.config import Config
from weft.hw.memory import wrapper
from weft.hw.memory.queue import MemoryQueue
from weft.hw.streams import Queue
from weft.hw.verilog import convert
from weft.sim.cocotb.stream_harness import StreamHarness
from weft.sim.cocotb_runner import run_benches


def test_stream_parts_keep_order():
    sources = {"streams.v": convert(StreamHarness(Config.named("tiny")), "stream_harness") + wrapper.VERILOG}
    assert len(run_benches(sources, "stream_harness", "weft.sim.cocotb.bench_streams")) == 6


def test_depth_is_checked():
    with pytest.raises(ValueError, match="2 or more, not 1"):
        Queue.check_depth(1)
    with pytest.raises(ValueError, match="power of two from 2 on, not 3"):
        MemoryQueue.check_depth(3)
