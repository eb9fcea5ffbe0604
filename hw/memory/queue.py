"""A queue too long for registers."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .wrapper import OnChipMemory

__all__ = ["MemoryQueue"]


class MemoryQueue(wiring.Component):
    """As `Queue`, in an `OnChipMemory`: first in, first out, a payload is at the output in the cycle after it came in, one
    transfer a cycle. Holds one payload more than ``depth``.

    What comes in while nothing waits goes past the memory, whose data comes a cycle after a read is asked for.

    Parameters: ``shape`` of the payload, ``depth`` (a power of two from 2 on). Ports: ``i``, ``o``.
    """

    def __init__(self, shape, depth):
        self.check_depth(depth)
        self._shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    @staticmethod
    def check_depth(depth):
        """Raises ValueError unless `depth` is a power of two from 2 on."""
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 2 on, not {depth}")

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self._shape)
        m.submodules.storage = storage = OnChipMemory(len(Value.cast(payload)), self.depth)
        empty, full = Signal(init=1), Signal()          # the memory is
        past = Signal(self._shape, reset_less=True)
        takes_past = Signal()                           # the payload at the output went past the memory
        taken, pop, free = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~full), free.eq(~self.o.valid | self.o.ready), taken.eq(self.i.valid & self.i.ready),
            pop.eq(free & ~empty),
            # What goes past has a place there too: `free` comes late.
            storage.write_enable.eq(taken), storage.write_data.eq(self.i.payload), storage.write_mask.eq(1),
            storage.read_enable.eq(pop), payload.eq(storage.read_data),
            self.o.payload.eq(Mux(takes_past, past, payload)),
        ]
        next_write, next_read = Signal.like(storage.write_address), Signal.like(storage.read_address)
        m.d.comb += [next_write.eq(storage.write_address + 1), next_read.eq(storage.read_address + 1)]
        with m.If(taken):
            m.d.sync += storage.write_address.eq(next_write)
        with m.If(free & (~empty | taken)):
            m.d.sync += storage.read_address.eq(next_read)
        # Written so that `free` has one gate before it gets into a register.
        m.d.sync += [
            empty.eq(Mux(free, empty | (~taken & (next_read == storage.write_address)), empty & ~taken)),
            full.eq(~free & (full | (taken & (next_write == storage.read_address)))),
        ]
        with m.If(free):
            m.d.sync += [self.o.valid.eq(~empty | self.i.valid), takes_past.eq(empty)]
            with m.If(empty):
                m.d.sync += past.eq(self.i.payload)
        return m
