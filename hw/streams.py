"""Parts with an input stream ``i`` and an output stream ``o``, composed wherever blocks meet.

A transfer happens in a cycle with ``valid`` and ``ready``; ``valid`` never waits for ``ready``, and once raised stays with
its payload until the transfer.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
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
        # Written so that `o.ready`, which comes late, has one gate before it gets into a register: the payload is taken whether
        # it is valid or not, and the skid register takes what may not need it.
        moves = ~self.o.valid | self.o.ready
        m.d.sync += [self.o.valid.eq(self.i.valid | ~ready | ~moves), ready.eq(moves | (ready & ~self.i.valid))]
        with m.If(moves):
            m.d.sync += payload.eq(Mux(ready, self.i.payload, skid))
        with m.If(self.i.valid & ready):
            m.d.sync += skid.eq(self.i.payload)
        return m


class Queue(wiring.Component):
    """First in, first out; a payload is at the output in the cycle after it came in. One transfer a cycle.

    Parameters: ``shape`` of the payload, ``depth`` (2 or more), ``early``: members of the payload (then a `StructLayout`) that come
    from a register, the others from a small memory. Ports: ``i``, ``o``.
    """

    def __init__(self, shape, depth, early=()):
        self.check_depth(depth)
        self._shape, self.depth, self._early = shape, depth, tuple(early)
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    @staticmethod
    def check_depth(depth):
        """Raises ValueError unless `depth` is 2 or more."""
        if depth < 2:
            raise ValueError(f"depth must be 2 or more, not {depth}")

    def _following(self, address):
        """The address behind another one."""
        return address + 1 if self.depth & (self.depth - 1) == 0 else Mux(address == self.depth - 1, 0, address + 1)

    def elaborate(self, platform):
        m = Module()
        # Read in the same cycle: small memories that become registers or distributed RAM.
        late = data.StructLayout({name: field.shape for name, field in self._shape if name not in self._early}) \
            if self._early else self._shape
        m.submodules.storage = storage = memory.Memory(shape=late, depth=self.depth, init=[])
        write = storage.write_port()
        read = storage.read_port(domain="comb")
        push = Signal()
        pop = Signal()
        # Whether there is a payload, and room for one, stands in registers: who asks needs to count nothing.
        valid, ready = self.o.valid, Signal(init=1)
        following_read, following_write = Signal.like(read.addr), Signal.like(write.addr)
        m.d.comb += [
            self.i.ready.eq(ready),
            push.eq(self.i.valid & ready),
            pop.eq(valid & self.o.ready),
            following_read.eq(self._following(read.addr)),
            following_write.eq(self._following(write.addr)),
            write.en.eq(push),
        ]
        # Written so that `pop`, which comes late, has one gate before it gets into a register.
        m.d.sync += [
            valid.eq(push | (valid & ~(pop & (following_read == write.addr)))),
            ready.eq(pop | (ready & ~(push & (following_write == read.addr)))),
        ]
        with m.If(push):
            m.d.sync += write.addr.eq(following_write)
        with m.If(pop):
            m.d.sync += read.addr.eq(following_read)

        if not self._early:
            m.d.comb += [write.data.eq(self.i.payload), self.o.payload.eq(read.data)]
            return m
        m.d.comb += [getattr(write.data, name).eq(getattr(self.i.payload, name)) for name in late.members]
        m.d.comb += [getattr(self.o.payload, name).eq(getattr(read.data, name)) for name in late.members]
        # The next payload moves up from the memory or, where there is none, from the input.
        early = data.StructLayout({name: self._shape[name].shape for name in self._early})
        m.submodules.next_storage = next_storage = memory.Memory(shape=early, depth=self.depth, init=[])
        next_write, next_read = next_storage.write_port(), next_storage.read_port(domain="comb")
        arriving, head = Signal(early), Signal(early, reset_less=True)
        m.d.comb += [
            *(getattr(arriving, name).eq(getattr(self.i.payload, name)) for name in self._early),
            next_write.addr.eq(write.addr), next_write.data.eq(arriving), next_write.en.eq(push),
            next_read.addr.eq(following_read),
            *(getattr(self.o.payload, name).eq(getattr(head, name)) for name in self._early),
        ]
        with m.If(pop | ~valid):
            m.d.sync += head.eq(Mux(valid & (following_read != write.addr), next_read.data, arriving))
        return m
