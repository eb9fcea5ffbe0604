"""Queue, StreamBuffer and SkidBuffer."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from weft.hw.streams import Queue, SkidBuffer, StreamBuffer
from weft.hw.verilog import convert
from weft.sim.cocotb_runner import run_benches


class Parts(wiring.Component):
    """All parts side by side, so that one build serves them; ``i_<part>`` and ``o_<part>``."""

    def __init__(self):
        self.parts = {"buffer": StreamBuffer(8), "skid": SkidBuffer(8), "double": Queue(8, 2), "queue": Queue(8, 8)}
        super().__init__({f"{side}_{name}": flow(stream.Signature(8)) for name in self.parts
                          for side, flow in (("i", In), ("o", Out))})

    def elaborate(self, platform):
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{name}")), part.i)
            wiring.connect(m, part.o, wiring.flipped(getattr(self, f"o_{name}")))
        return m


def test_stream_parts_keep_order():
    passed = run_benches({"parts.v": convert(Parts(), "parts")}, "parts", "weft.sim.cocotb.bench_streams")
    assert len(passed) == 4


def test_queue_depth_is_a_power_of_two():
    with pytest.raises(ValueError, match="power of two from 2 on, not 3"):
        Queue.check_depth(3)
