"""The stream parts side by side, for the bench that stalls them."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from weft.hw.memory.queue import MemoryQueue
from weft.hw.streams import Queue, SkidBuffer, StreamBuffer

__all__ = ["StreamHarness"]


class StreamHarness(wiring.Component):
    """All parts side by side, so that one build serves them; ``i_<part>`` and ``o_<part>`` carry a byte.

    Parameters: ``config``, which gives the depth of the longer queues (``bursts_in_flight``).
    """

    def __init__(self, config):
        self.parts = {"buffer": StreamBuffer(8), "skid": SkidBuffer(8), "double": Queue(8, 2), "five": Queue(8, 5),
                      "queue": Queue(8, config.bursts_in_flight), "memory": MemoryQueue(8, config.bursts_in_flight)}
        super().__init__({f"{side}_{name}": flow(stream.Signature(8)) for name in self.parts
                          for side, flow in (("i", In), ("o", Out))})

    def elaborate(self, platform):
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{name}")), part.i)
            wiring.connect(m, part.o, wiring.flipped(getattr(self, f"o_{name}")))
        return m
