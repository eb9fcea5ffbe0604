"""Reciprocal square root of a row's variance, for NORM."""

from math import floor, sqrt

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .leading import empty_places
from .multiplier import Multiplication, chosen
from .state import NormState
from .statistics import SQUARES

__all__ = ["ROOTS", "VARIANCE", "ReciprocalRoot"]

#: First guess of the reciprocal root: 2^31 / sqrt((j + 1/2) * 2^24) for j from 64 to 255.
ROOTS = tuple(min(65535, floor(2.0 ** 31 / sqrt((j + 0.5) * 2.0 ** 24) + 0.5)) for j in range(64, 256))
# What counts of its square.
_SQUARES = tuple(root * root >> 14 for root in ROOTS)
#: Bits of a variance, D * S2 - S1 * S1 + eps.
VARIANCE = 60
# Bits of the normalized variance.
_MANTISSA = 32


class ReciprocalRoot(wiring.Component):
    """One row at a time, in 16 cycles: V = D * S2 - S1 * S1 + eps, its leading bits, a table of 192 roots and their squares, one
    Newton step; formulas in ``sim/README.md``.

    Members
    -------
    start, row_sum, row_squares, features, rms, eps : In
        ``start`` comes with the others, which stay until ``done``.
    multiplication : Out(Multiplication())
    done : Out(1); value : Out(NormState)
        The result, in one cycle.
    idle : Out(1)
    """
    start: In(1)
    row_sum: In(signed(30))
    row_squares: In(SQUARES)
    features: In(15)
    rms: In(1)
    eps: In(VARIANCE)
    multiplication: Out(Multiplication())
    done: Out(1)
    value: Out(NormState)
    idle: Out(1)

    def elaborate(self, platform):
        m = Module()
        product = self.multiplication.product

        variance = Signal(VARIANCE, reset_less=True)
        places = Signal(6, reset_less=True)         # by how much it has been shifted left, an even number
        # How far it is to be shifted is known a cycle before it is.
        coarse = (variance << Cat(Const(0, 4), places[4:]))[:VARIANCE]
        fine = (variance << Cat(Const(0, 1), places[1:4]))[:VARIANCE]
        leading = variance[VARIANCE - _MANTISSA:]   # v once normalized
        magnitude = Signal(30)                      # of S1
        m.d.comb += magnitude.eq(Mux(self.rms, 0, Mux(self.row_sum < 0, -self.row_sum, self.row_sum)))

        # The table is a memory on FPGAs, late in the cycle behind its register.
        entry = Signal(data.StructLayout({"guess": 16, "square": 18}), reset_less=True)
        held = Signal(entry.shape(), reset_less=True)
        table = Signal(entry.shape())
        with m.Switch(fine[VARIANCE - 8:]):
            for j, (root, square) in enumerate(zip(ROOTS, _SQUARES, strict=True), 64):
                with m.Case(j):
                    m.d.comb += [table.guess.eq(root), table.square.eq(square)]
        correction = Signal(18)
        root = Signal(18)
        m.d.comb += [
            correction.eq(196608 - product[32:]), root.eq(product[17:]),
            self.value.row_sum.eq(Mux(self.rms, 0, self.row_sum)),
            # The shift is k + 4 with k = (58 - places) / 2, and kept less one.
            self.value.shift.eq(Mux(leading[30:].any(), 32 - places[1:], 3)),
            self.value.root.eq(Mux(leading[30:].any(), Mux(root > 65535, 65535, root), 0)),
        ]

        # A step a cycle, each with a flag of its own: the first with `start`, then V, a product in each cycle, then Newton,
        # y1 = y0 * (3 * 2^16 - v * y0^2) / 2^17, each of whose products waits for what comes before.
        steps = Signal(14)
        (squares_high, sum_low, sum_high, subtract_low, subtract_high, measure, shift_coarse, shift_fine,
         hold, scale, _, correct, _, finish) = steps
        busy = Signal()
        m.d.sync += steps.eq(Cat(self.start, steps))
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(finish):
            m.d.sync += busy.eq(0)
        asks, wides, narrows = zip(
            (self.start, self.row_squares[:32], self.features), (squares_high, self.row_squares[32:], self.features),
            (sum_low, magnitude, magnitude[:15]), (sum_high, magnitude, magnitude[15:]),
            (scale, leading, held.square), (correct, held.guess, correction), strict=True)
        m.d.comb += [
            self.multiplication.valid.eq(Cat(asks).any()), self.multiplication.wide.eq(chosen(asks, wides)),
            self.multiplication.narrow.eq(chosen(asks, narrows)),
            self.done.eq(finish), self.idle.eq(~busy),
        ]
        # Of a normalized variance the leading bits count, so shifts leave out what does not get there any more.
        unused = VARIANCE - _MANTISSA
        shifted = Mux(shift_coarse, coarse[unused - 14:] << unused - 14, fine[unused:] << unused)
        # One adder: of a product that is subtracted the complement, and one.
        low, subtracts, adds = Signal(), Signal(), Signal()
        m.d.sync += [low.eq(squares_high | sum_high), subtracts.eq(sum_high | subtract_low),
                     adds.eq(squares_high | sum_low | sum_high | subtract_low)]
        addend = chosen((low, sum_high, subtract_high), (product.as_unsigned(), product[:28] << 32, product[:45] << 15))
        addend ^= subtracts.replicate(VARIANCE)
        total = Cat(subtracts, Mux(sum_low, self.eps, variance)) + Cat(subtracts, addend)
        with m.If(adds | shift_coarse | shift_fine):
            m.d.sync += variance.eq(Mux(adds, total[1:], shifted))
        with m.If(measure):
            m.d.sync += places.eq(Cat(Const(0, 4), empty_places(variance, (32, 16))))
        with m.If(shift_coarse):
            m.d.sync += places[1:4].eq(empty_places(coarse, (8, 4, 2)))
        with m.If(shift_fine):
            m.d.sync += entry.eq(table)
        with m.If(hold):
            m.d.sync += held.eq(entry)
        return m
