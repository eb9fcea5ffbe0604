"""Queue and StreamBuffer."""

import pytest

from weft.hw.stream import Queue, StreamBuffer
from weft.hw.verilog import convert
from weft.sim.cocotb_runner import run_benches


@pytest.mark.parametrize("part", [StreamBuffer(8), Queue(8, 2), Queue(8, 3)], ids=["buffer", "queue2", "queue3"])
def test_stream_part_keeps_order(part):
    text = convert(part, "part")
    assert run_benches({"part.v": text}, "part", "weft.sim.cocotb.bench_stream") == ["in_order_under_stalls"]


def test_queue_needs_a_place():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Queue(8, 0)
