"""Small parts with a stream in (`i`) and a stream out (`o`), composed everywhere."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamBuffer", "Queue"]


class StreamBuffer(wiring.Component):
    """One register in a stream: the payload comes a cycle later, one per cycle.

    ``i.ready`` follows ``o.ready`` combinationally; a `Queue` of depth 2 cuts that path as well.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        valid = Signal()
        payload = Signal(self.shape, reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~valid | self.o.ready),
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
        ]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += payload.eq(self.i.payload)
        return m


class Queue(wiring.Component):
    """First in, first out, made of registers; no combinational path between its two sides.

    A payload accepted in one cycle is offered in the next. With a depth of 2 or more it passes one per cycle.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.
    depth : int
        Payloads it holds, at least 1.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(range(depth + 1))
        Payloads held.
    """

    def __init__(self, shape, depth):
        self.check_depth(depth)
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    @staticmethod
    def check_depth(depth):
        """Raises ValueError for a depth below 1."""
        if depth < 1:
            raise ValueError(f"a queue's depth must be at least 1, not {depth}")

    def elaborate(self, platform):
        m = Module()
        entries = Array(Signal(self.shape, name=f"entry_{n}", reset_less=True) for n in range(self.depth))
        write_index = Signal(range(self.depth))
        read_index = Signal(range(self.depth))
        level = Signal(range(self.depth + 1))

        def advance(index):
            return index.eq(0) if self.depth == 1 else index.eq(Mux(index == self.depth - 1, 0, index + 1))

        m.d.comb += [
            self.i.ready.eq(level != self.depth),
            self.o.valid.eq(level != 0),
            self.o.payload.eq(entries[read_index]),
            self.level.eq(level),
        ]
        push = self.i.valid & self.i.ready
        pop = self.o.valid & self.o.ready
        with m.If(push):
            m.d.sync += [entries[write_index].eq(self.i.payload), advance(write_index)]
        with m.If(pop):
            m.d.sync += advance(read_index)
        with m.If(push & ~pop):
            m.d.sync += level.eq(level + 1)
        with m.Elif(pop & ~push):
            m.d.sync += level.eq(level - 1)
        return m
