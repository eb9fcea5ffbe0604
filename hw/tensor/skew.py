"""Delays around the array: each lane by its own number of cycles, or all by the same."""

from contextlib import nullcontext

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skew", "Delay"]


class Skew(wiring.Component):
    """Delays lane n by n cycles (``n // pitch``), or with `falling` by ``count - 1 - n`` cycles (which undoes it).

    Parameters
    ----------
    shape : ShapeLike
        Shape of a lane.
    count : int
        Lanes.
    falling : bool
        The first lane is delayed most instead of the last.
    gated : bool
        Only what counts moves: `moves` says where that is.
    pitch : int
        Neighbouring lanes that are delayed alike, from lane 0 on.

    Members
    -------
    i : In(ArrayLayout(shape, count))
    o : Out(ArrayLayout(shape, count))
    moves : In(ceil(count / pitch))
        If `gated`. Bit k: what was at ``i`` k cycles ago counts; ``o`` of lane n means nothing while bit n is 0.
    """

    def __init__(self, shape, count, falling=False, gated=False, pitch=1):
        self.shape = Shape.cast(shape)
        self.count = count
        self.falling = falling
        self.gated = gated
        self.pitch = pitch
        layout = data.ArrayLayout(self.shape, count)
        super().__init__({"i": In(layout), "o": Out(layout), **({"moves": In(-(-count // pitch))} if gated else {})})

    def elaborate(self, platform):
        m = Module()
        for lane in range(self.count):
            value = self.i[lane]
            for cycle in range(self.count - 1 - lane if self.falling else lane // self.pitch):
                delayed = Signal(self.shape, name=f"lane_{lane}_delay_{cycle + 1}", reset_less=True)
                with m.If(self.moves[cycle]) if self.gated else nullcontext():
                    m.d.sync += delayed.eq(value)
                value = delayed
            m.d.comb += self.o[lane].eq(value)
        return m


class Delay(wiring.Component):
    """Delays a payload and its ``valid`` by `cycles` cycles; the payload moves only where it is valid.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.
    cycles : int
        At least 1.

    Members
    -------
    i_valid, i : In
    o_valid, o : Out
    """

    def __init__(self, shape, cycles):
        if cycles < 1:
            raise ValueError(f"a delay must be of at least 1 cycle, not {cycles}")
        self.shape = shape
        self.cycles = cycles
        super().__init__({"i_valid": In(1), "i": In(shape), "o_valid": Out(1), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        valid, payload = self.i_valid, self.i
        for cycle in range(1, self.cycles + 1):
            next_valid = Signal(name=f"valid_{cycle}")
            next_payload = Signal(self.shape, name=f"payload_{cycle}", reset_less=True)
            m.d.sync += next_valid.eq(valid)
            with m.If(valid):
                m.d.sync += next_payload.eq(payload)
            valid, payload = next_valid, next_payload
        m.d.comb += [self.o_valid.eq(valid), self.o.eq(payload)]
        return m
