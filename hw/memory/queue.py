"""A queue too long for registers."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..streams import Queue
from .wrapper import OnChipMemory

__all__ = ["MemoryQueue"]


class MemoryQueue(wiring.Component):
    """As `Queue`, in an `OnChipMemory`: first in, first out, a payload is at the output in the cycle after it came in, one
    transfer a cycle. Holds one payload more than ``depth``.

    What comes in while nothing waits goes past the memory, whose data comes a cycle after a read is asked for.

    Parameters: ``shape`` of the payload, ``depth`` (a power of two from 2 on). Ports: ``i``, ``o``.
    """

    def __init__(self, shape, depth):
        Queue.check_depth(depth)
        self._shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self._shape)
        m.submodules.storage = storage = OnChipMemory(len(Value.cast(payload)), self.depth)
        level = Signal(range(self.depth + 1))           # in the memory
        past = Signal(self._shape, reset_less=True)
        takes_past = Signal()                           # the payload at the output went past the memory
        push, pop, free = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(level != self.depth), free.eq(~self.o.valid | self.o.ready),
            push.eq(self.i.valid & self.i.ready & ~(free & (level == 0))), pop.eq(free & (level != 0)),
            storage.write_enable.eq(push), storage.write_data.eq(self.i.payload), storage.write_mask.eq(1),
            storage.read_enable.eq(pop), payload.eq(storage.read_data),
            self.o.payload.eq(Mux(takes_past, past, payload)),
        ]
        with m.If(push):
            m.d.sync += storage.write_address.eq(storage.write_address + 1)
        with m.If(pop):
            m.d.sync += storage.read_address.eq(storage.read_address + 1)
        m.d.sync += level.eq(level + push - pop)
        with m.If(free):
            m.d.sync += [self.o.valid.eq(pop | self.i.valid), takes_past.eq(level == 0)]
            with m.If(level == 0):
                m.d.sync += past.eq(self.i.payload)
        return m
