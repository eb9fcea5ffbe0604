"""Parts with an input stream ``i`` and an output stream ``o``, composed wherever blocks meet.

A transfer happens in a cycle with ``valid`` and ``ready``; ``valid`` never waits for ``ready``, and once raised stays with
its payload until the transfer.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamBuffer", "SkidBuffer", "Queue"]


class StreamBuffer(wiring.Component):
    """One register: cuts ``valid`` and payload, passes ``ready`` through. Latency 1, one transfer a cycle.

    Parameters: ``shape`` of the payload. Ports: ``i``, ``o``.
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self._shape, reset_less=True)
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), self.o.payload.eq(payload)]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += payload.eq(self.i.payload)
        return m


class SkidBuffer(wiring.Component):
    """Two registers: every output, ``i.ready`` too, comes from a register. Latency 1, one transfer a cycle.

    Parameters: ``shape`` of the payload. Ports: ``i``, ``o``.
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        skid = Signal(self._shape, reset_less=True)
        payload = Signal(self._shape, reset_less=True)
        ready = Signal(init=1)      # the skid register is empty
        m.d.comb += [self.i.ready.eq(ready), self.o.payload.eq(payload)]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid | ~ready), ready.eq(1)]
            with m.If(~ready):
                m.d.sync += payload.eq(skid)
            with m.Elif(self.i.valid):
                m.d.sync += payload.eq(self.i.payload)
        with m.Elif(self.i.valid & ready):
            m.d.sync += [skid.eq(self.i.payload), ready.eq(0)]
        return m


class Queue(wiring.Component):
    """First in, first out; a payload is at the output in the cycle after it came in. One transfer a cycle.

    Parameters: ``shape`` of the payload, ``depth`` (a power of two from 2 on). Ports: ``i``, ``o``, ``level``: payloads held.
    """

    def __init__(self, shape, depth):
        self.check_depth(depth)
        self._shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "level": Out(range(depth + 1))})

    @staticmethod
    def check_depth(depth):
        """Raises ValueError unless `depth` is a power of two from 2 on."""
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 2 on, not {depth}")

    def elaborate(self, platform):
        m = Module()
        # Read in the same cycle: small memories that become registers or distributed RAM.
        m.submodules.storage = storage = memory.Memory(shape=self._shape, depth=self.depth, init=[])
        write = storage.write_port()
        read = storage.read_port(domain="comb")
        push = Signal()
        pop = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.level[-1]),       # depth, a power of two, is the only level with this bit
            self.o.valid.eq(self.level != 0),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
            write.data.eq(self.i.payload),
            write.en.eq(push),
            self.o.payload.eq(read.data),
        ]
        with m.If(push):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(pop):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(push != pop):
            m.d.sync += self.level.eq(Mux(push, self.level + 1, self.level - 1))
        return m
