"""Arithmetic that rows need once: reciprocal square root and division, around one multiplier."""

from math import floor, sqrt

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .state import SUM, DivisionState, NormState, StateWrite
from .statistics import SQUARES

__all__ = ["RowUnit", "ROOTS"]

#: First guess of the reciprocal root: 2^31 / sqrt((j + 1/2) * 2^24) for j from 64 to 255.
ROOTS = tuple(min(65535, floor(2.0 ** 31 / sqrt((j + 0.5) * 2.0 ** 24) + 0.5)) for j in range(64, 256))

_VARIANCE = 60
# Quotient bits of the division, two a cycle.
_QUOTIENT = 18


class RowUnit(wiring.Component):
    """Rows bit by bit and step by step; formulas in ``sim/README.md``.

    - reciprocal square root for NORM, 17 cycles: V = D * S2 - S1 * S1 + eps, its leading bits, a table of 192 roots, one
      Newton step;
    - reciprocal of a softmax row's sum, 18 cycles: leading bits, restoring division (two bits a cycle), times M. A row's
      leading bits are found while the one before is divided, and that is multiplied while the next one is divided, so a row
      takes 9 cycles.

    Parameters
    ----------
    rows : int
        Rows of the state memories.

    Members
    -------
    load, first_row : In
        Results go to ``first_row`` and the rows after it.
    root, row_sum, row_squares, features, rms, eps : In
        ``root`` starts with the others, which stay until ``idle``.
    divide, row_total, mult, shift : In
        ``divide`` starts, only with ``ready``; sum l is taken in the cycle after it, multiplier M and shift s stay until
        ``idle``.
    norm_write, division_write : Out(StateWrite)
    ready : Out(1)
        A division may start.
    idle : Out(1)
    """

    def __init__(self, rows):
        super().__init__({
            "load": In(1), "first_row": In(range(rows)),
            "root": In(1), "row_sum": In(signed(30)), "row_squares": In(SQUARES), "features": In(15), "rms": In(1),
            "eps": In(_VARIANCE),
            "divide": In(1), "row_total": In(SUM), "mult": In(signed(18)), "shift": In(6),
            "norm_write": Out(StateWrite(rows, NormState)), "division_write": Out(StateWrite(rows, DivisionState)),
            "ready": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        row = Signal.like(self.first_row)
        m.d.comb += [self.norm_write.row.eq(row), self.division_write.row.eq(row)]
        with m.If(self.load):
            m.d.sync += row.eq(self.first_row)
        with m.Elif(self.norm_write.enable | self.division_write.enable):
            m.d.sync += row.eq(row + 1)

        # The multiplier: unsigned up to 32 by 18 bits, or 18 by 18 signed; two cycles from operands to product.
        wide = Signal(signed(33), reset_less=True)
        narrow = Signal(signed(19), reset_less=True)
        product = Signal(signed(52), reset_less=True)
        multiplying = Signal()
        m.d.sync += multiplying.eq(0)
        with m.If(multiplying):
            m.d.sync += product.eq(wide * narrow)

        def multiply(a, b):
            return [wide.eq(a), narrow.eq(b), multiplying.eq(1)]

        # One register for the variance, and for the sum of a softmax row in its upper 32 bits.
        value = Signal(_VARIANCE, reset_less=True)
        dividing = Signal(reset_less=True)
        places = Signal(6, reset_less=True)         # by how much it has been shifted left

        def normalized(amounts):
            """`value` with leading zeros shifted out, where `amounts` allow."""
            shifted, count = value, []
            for amount in amounts:
                empty = Signal(name=f"empty_{amount}")
                m.d.comb += empty.eq(~shifted[_VARIANCE - amount:].any())
                if amount == 1:
                    m.d.comb += empty.eq(~shifted[-1] & dividing)
                result = Signal(_VARIANCE, name=f"shifted_{amount}")
                m.d.comb += result.eq(Mux(empty, shifted << amount, shifted))
                shifted = result
                count.append(empty)
            return shifted, Cat(reversed(count))

        coarse, coarse_places = normalized((32, 16, 8))
        fine, fine_places = normalized((4, 2, 1))
        leading = value[_VARIANCE - SUM:]           # v or L once normalized
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
        m.d.comb += [correction.eq(196608 - product[32:]), root.eq(product[17:])]
        m.d.comb += [
            self.norm_write.value.row_sum.eq(Mux(self.rms, 0, self.row_sum)),
            # The shift is k + 4 with k = (58 - places) / 2, and kept less one.
            self.norm_write.value.shift.eq(Mux(leading[30:].any(), 32 - places[1:], 3)),
            self.norm_write.value.root.eq(Mux(leading[30:].any(), Mux(root > 65535, 65535, root), 0)),
        ]

        # Division of 2^47 + L/2 by L: the remainder starts with the bits above the quotient's 18.
        remainder = Signal(SUM, reset_less=True)
        quotient = Signal(_QUOTIENT, reset_less=True)
        numerator = Signal(_QUOTIENT, reset_less=True)
        divisor = Signal(SUM, reset_less=True)
        steps = Signal(range(_QUOTIENT // 2 + 1))       # still to do
        divided_places = Signal.like(places)
        written_places = Signal.like(places)
        written_any = Signal(reset_less=True)
        finishing, may_start, start_division = Signal(), Signal(), Signal()
        # Behind the last step: factors, product, write.
        finished = Signal(3)
        m.d.comb += [finishing.eq(steps == 1), may_start.eq((steps == 0) | finishing)]
        m.d.sync += finished.eq((finished << 1) | finishing)
        rest, bits = remainder, []
        for bit in range(2):
            doubled = Signal(SUM + 1, name=f"doubled_{bit}")
            difference = Signal(signed(SUM + 2), name=f"difference_{bit}")
            after = Signal(SUM, name=f"remainder_{bit}")
            m.d.comb += [
                doubled.eq(Cat(numerator[-1 - bit], rest)), difference.eq(doubled - divisor),
                after.eq(Mux(difference < 0, doubled, difference)),
            ]
            rest = after
            bits.append(difference >= 0)
        divided = Signal(signed(18))
        m.d.comb += [
            divided.eq((product + (1 << 15)) >> 16),
            # S is s + b with b = 31 - places, and kept less one; a row without keys has 0 and 1.
            self.division_write.value.mult.eq(Mux(written_any, divided, 0)),
            self.division_write.value.shift.eq(Mux(written_any, self.shift + 30 - written_places, 0)),
            self.division_write.enable.eq(finished[2]),
        ]
        with m.If(start_division):
            m.d.sync += [divisor.eq(leading), divided_places.eq(places), steps.eq(_QUOTIENT // 2),
                         remainder.eq((1 << 47 - _QUOTIENT) + leading[_QUOTIENT + 1:]), numerator.eq(leading[1:])]
        with m.Elif(steps != 0):
            m.d.sync += [remainder.eq(rest), numerator.eq(numerator << 2), steps.eq(steps - 1)]
        with m.If(steps != 0):
            m.d.sync += quotient.eq(Cat(bits[1], bits[0], quotient))
        with m.If(finishing):
            m.d.sync += [written_places.eq(divided_places), written_any.eq(divisor[-1])]
        with m.If(finished[0]):
            m.d.sync += multiply(self.mult, quotient)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.ready.eq(1), self.idle.eq((steps == 0) & ~finished.any())]
                with m.If(self.root):
                    m.d.sync += [dividing.eq(0), *multiply(self.row_squares[:32], self.features)]
                    m.next = "SQUARES_HIGH"
                with m.Elif(self.divide):
                    m.d.sync += dividing.eq(1)
                    m.next = "TOTAL"

            # V, a product in each cycle.
            with m.State("SQUARES_HIGH"):
                m.d.sync += multiply(self.row_squares[32:], self.features)
                m.next = "SUM_LOW"
            with m.State("SUM_LOW"):
                m.d.sync += [multiply(magnitude, magnitude[:15]), value.eq(self.eps + product.as_unsigned())]
                m.next = "SUM_HIGH"
            with m.State("SUM_HIGH"):
                m.d.sync += [multiply(magnitude, magnitude[15:]), value.eq(value + (product[:28] << 32))]
                m.next = "SUBTRACT_LOW"
            with m.State("SUBTRACT_LOW"):
                m.d.sync += value.eq(value - product.as_unsigned())
                m.next = "SUBTRACT_HIGH"
            with m.State("SUBTRACT_HIGH"):
                m.d.sync += value.eq(value - (product[:45] << 15))
                m.next = "COARSE"

            with m.State("TOTAL"):
                m.d.sync += value.eq(Cat(Const(0, _VARIANCE - SUM), self.row_total))
                m.next = "COARSE"
            with m.State("COARSE"):
                m.d.sync += [value.eq(coarse), places.eq(Cat(Const(0, 3), coarse_places))]
                m.next = "FINE"
            with m.State("FINE"):
                m.d.sync += [value.eq(fine), places[:3].eq(fine_places)]
                with m.If(dividing):
                    m.next = "DIVIDE_START"
                with m.Else():
                    m.next = "GUESS"

            # Newton: y1 = y0 * (3 * 2^16 - v * y0^2) / 2^17.
            with m.State("GUESS"):
                m.d.sync += guess.eq(table)
                m.next = "SQUARE"
            with m.State("SQUARE"):
                m.d.sync += multiply(guess, guess)
                m.next = "SQUARE_WAIT"
            with m.State("SQUARE_WAIT"):
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.sync += multiply(leading, product[14:32])
                m.next = "SCALE_WAIT"
            with m.State("SCALE_WAIT"):
                m.next = "CORRECT"
            with m.State("CORRECT"):
                m.d.sync += multiply(guess, correction)
                m.next = "CORRECT_WAIT"
            with m.State("CORRECT_WAIT"):
                m.next = "ROOT"
            with m.State("ROOT"):
                m.d.comb += self.norm_write.enable.eq(1)
                m.next = "IDLE"

            with m.State("DIVIDE_START"):
                m.d.comb += start_division.eq(may_start)
                with m.If(may_start):
                    m.next = "IDLE"
        return m
