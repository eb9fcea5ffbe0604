"""Reciprocal square root of a row's variance, for NORM."""

from math import floor, sqrt

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .leading import shifted_up
from .multiplier import Multiplication
from .state import NormState
from .statistics import SQUARES

__all__ = ["ROOTS", "VARIANCE", "ReciprocalRoot"]

#: First guess of the reciprocal root: 2^31 / sqrt((j + 1/2) * 2^24) for j from 64 to 255.
ROOTS = tuple(min(65535, floor(2.0 ** 31 / sqrt((j + 0.5) * 2.0 ** 24) + 0.5)) for j in range(64, 256))
#: Bits of a variance, D * S2 - S1 * S1 + eps.
VARIANCE = 60
# Bits of the normalized variance.
_MANTISSA = 32


class ReciprocalRoot(wiring.Component):
    """One row at a time, in 17 cycles: V = D * S2 - S1 * S1 + eps, its leading bits, a table of 192 roots, one Newton step;
    formulas in ``sim/README.md``.

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

        def multiply(wide, narrow):
            return [self.multiplication.valid.eq(1), self.multiplication.wide.eq(wide), self.multiplication.narrow.eq(narrow)]

        variance = Signal(VARIANCE, reset_less=True)
        places = Signal(6, reset_less=True)         # by how much it has been shifted left, an even number
        coarse, coarse_places = shifted_up(m, variance, (32, 16, 8))
        fine, fine_places = shifted_up(m, variance, (4, 2))
        leading = variance[VARIANCE - _MANTISSA:]   # v once normalized
        magnitude = Signal(30)                      # of S1
        m.d.comb += magnitude.eq(Mux(self.rms, 0, Mux(self.row_sum < 0, -self.row_sum, self.row_sum)))

        guess = Signal(16, reset_less=True)
        table = Signal(16)
        with m.Switch(leading[24:]):
            for j, root in enumerate(ROOTS, 64):
                with m.Case(j):
                    m.d.comb += table.eq(root)
        correction = Signal(18)
        root = Signal(18)
        m.d.comb += [
            correction.eq(196608 - product[32:]), root.eq(product[17:]),
            self.value.row_sum.eq(Mux(self.rms, 0, self.row_sum)),
            # The shift is k + 4 with k = (58 - places) / 2, and kept less one.
            self.value.shift.eq(Mux(leading[30:].any(), 32 - places[1:], 3)),
            self.value.root.eq(Mux(leading[30:].any(), Mux(root > 65535, 65535, root), 0)),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    m.d.comb += multiply(self.row_squares[:32], self.features)
                    m.next = "SQUARES_HIGH"

            # V, a product in each cycle.
            with m.State("SQUARES_HIGH"):
                m.d.comb += multiply(self.row_squares[32:], self.features)
                m.next = "SUM_LOW"
            with m.State("SUM_LOW"):
                m.d.comb += multiply(magnitude, magnitude[:15])
                m.d.sync += variance.eq(self.eps + product.as_unsigned())
                m.next = "SUM_HIGH"
            with m.State("SUM_HIGH"):
                m.d.comb += multiply(magnitude, magnitude[15:])
                m.d.sync += variance.eq(variance + (product[:28] << 32))
                m.next = "SUBTRACT_LOW"
            with m.State("SUBTRACT_LOW"):
                m.d.sync += variance.eq(variance - product.as_unsigned())
                m.next = "SUBTRACT_HIGH"
            with m.State("SUBTRACT_HIGH"):
                m.d.sync += variance.eq(variance - (product[:45] << 15))
                m.next = "COARSE"

            with m.State("COARSE"):
                m.d.sync += [variance.eq(coarse), places.eq(Cat(Const(0, 3), coarse_places))]
                m.next = "FINE"
            with m.State("FINE"):
                m.d.sync += [variance.eq(fine), places[1:3].eq(fine_places)]
                m.next = "GUESS"

            # Newton: y1 = y0 * (3 * 2^16 - v * y0^2) / 2^17.
            with m.State("GUESS"):
                m.d.sync += guess.eq(table)
                m.next = "SQUARE"
            with m.State("SQUARE"):
                m.d.comb += multiply(guess, guess)
                m.next = "SQUARE_WAIT"
            with m.State("SQUARE_WAIT"):
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += multiply(leading, product[14:32])
                m.next = "SCALE_WAIT"
            with m.State("SCALE_WAIT"):
                m.next = "CORRECT"
            with m.State("CORRECT"):
                m.d.comb += multiply(guess, correction)
                m.next = "CORRECT_WAIT"
            with m.State("CORRECT_WAIT"):
                m.next = "ROOT"
            with m.State("ROOT"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
