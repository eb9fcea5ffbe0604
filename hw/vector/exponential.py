"""One lane of the exponential."""

from math import floor

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ExponentialLane", "MANTISSAS"]

#: 2^(-f/32) in Q15 for f from 0 to 31.
MANTISSAS = tuple(floor(2.0 ** 15 * 2.0 ** (-f / 32) + 0.5) for f in range(32))


class ExponentialLane(wiring.Component):
    """``e = rshift(MANTISSAS[t & 31], t >> 5)`` with ``t = 32 * maximum - score``, and ``P = min(255, (e + 64) >> 7)``.

    ``enter`` bit k: an element enters stage k at the end of the cycle; e is stage 3, P stage 4 of an element that comes in
    before stage 1. A score that is not ``visible`` gives 0.

    Ports: ``enter`` In(5), ``maximum`` In(signed(12)), ``score`` In(signed(16)), ``visible`` In(1), ``exponential``
    Out(16), ``probability`` Out(8).
    """

    def __init__(self):
        super().__init__({
            "enter": In(5), "maximum": In(signed(12)), "score": In(signed(16)), "visible": In(1),
            "exponential": Out(16), "probability": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        # Visible scores are at most 32 * maximum; of 17 halvings and more nothing is left, of 32 none is made.
        distance = Signal(17)
        m.d.comb += distance.eq(Cat(Const(0, 5), self.maximum).as_signed() - self.score)
        place = Signal(5, reset_less=True)
        fraction = Signal(5, reset_less=True)
        halvings = Signal(len(distance) - 10, reset_less=True)      # in multiples of 32: the upper bits of the distance come last
        visible = Signal(reset_less=True)
        with m.If(self.enter[1]):
            m.d.sync += [fraction.eq(distance[:5]), place.eq(distance[5:10]), halvings.eq(distance[10:]), visible.eq(self.visible)]

        # With the bit that rounds, shifted by multiples of 8 behind the table, and by the rest in the next stage.
        mantissa = Signal(17, reset_less=True)
        shift = Signal(3, reset_less=True)
        table = Signal(16)
        with m.Switch(fraction):
            for value, entry in enumerate(MANTISSAS):
                with m.Case(value):
                    m.d.comb += table.eq(entry)
        with m.If(self.enter[2]):
            m.d.sync += [mantissa.eq(Mux(visible & (halvings == 0), Cat(Const(0, 1), table) >> Cat(Const(0, 3), place[3:]), 0)),
                         shift.eq(place[:3])]

        moved = Signal(17)
        m.d.comb += moved.eq(mantissa >> shift)
        with m.If(self.enter[3]):
            m.d.sync += self.exponential.eq(moved[1:] + moved[0])
        rounded = Signal(10)
        m.d.comb += rounded.eq((self.exponential + 64) >> 7)
        with m.If(self.enter[4]):
            m.d.sync += self.probability.eq(Mux(rounded > 255, 255, rounded))
        return m
