"""Reciprocals of softmax rows' sums: a derived number of dividers that take rows in turns."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import DIVISION_CYCLES
from .leading import shifted_up
from .multiplier import Multiplication, chosen
from .state import SUM, DivisionState

__all__ = ["Divider", "Division"]

# Bits of the quotient, of which a cycle gives two.
_QUOTIENT = 18
_STEPS = _QUOTIENT // 2
assert _STEPS == DIVISION_CYCLES


class Divider(wiring.Component):
    """floor((2^47 + floor(L / 2)) / L) of a normalized L (bit 31 set) by restoring division, two bits a cycle.

    Members
    -------
    start : In(1); divisor, places : In
        L, and how many leading zeros it had: any time, but nine cycles or more behind the last ``start``.
    finishing : Out(1)
        Of the nine cycles behind ``start`` the last one, also of L = 0, whose quotient means nothing.
    any, finished_places : Out
        Whether L is not 0, its ``places``: with ``finishing``.
    quotient : Out(18)
        In the cycle behind ``finishing``.
    idle : Out(1)
    """
    start: In(1)
    divisor: In(SUM)
    places: In(5)
    finishing: Out(1)
    any: Out(1)
    finished_places: Out(5)
    quotient: Out(_QUOTIENT)
    idle: Out(1)

    def elaborate(self, platform):
        m = Module()
        # The remainder starts with the bits above the quotient's.
        remainder = Signal(SUM, reset_less=True)
        numerator = Signal(_QUOTIENT, reset_less=True)
        divisor = Signal(SUM, reset_less=True)
        quotient = Signal(_QUOTIENT, reset_less=True)
        places = Signal.like(self.places, reset_less=True)
        steps = Signal(range(_STEPS + 1))           # still to do
        # Both bits' differences at once: the second bit's for either of the first. Of three times L there is nothing in the first
        # step, whose remainder is less than twice L, and what it takes is there from the second on.
        threefold = Signal(SUM + 2, reset_less=True)
        m.d.sync += threefold.eq(divisor + (divisor << 1))
        doubled, fourfold = Cat(numerator[-1], remainder), Cat(numerator[-2:], remainder)
        less_two, less_one, less_three = (Signal(signed(SUM + 3), name=f"less_{name}") for name in ("two", "one", "three"))
        m.d.comb += [less_two.eq(doubled - divisor), less_one.eq(fourfold - divisor), less_three.eq(fourfold - threefold)]
        upper = less_two >= 0
        rest = Mux(upper, Mux(less_three >= 0, less_three, Cat(numerator[-2], less_two)),
                   Mux(less_one >= 0, less_one, fourfold))[:SUM]
        lower = Mux(upper, less_three, less_one) >= 0
        with m.If(self.start):
            m.d.sync += [divisor.eq(self.divisor), places.eq(self.places), steps.eq(_STEPS),
                         remainder.eq((1 << 47 - _QUOTIENT) + self.divisor[_QUOTIENT + 1:]), numerator.eq(self.divisor[1:])]
        with m.Elif(~self.idle):
            m.d.sync += [remainder.eq(rest), numerator.eq(numerator << 2), steps.eq(steps - 1)]
        with m.If(~self.idle):
            m.d.sync += quotient.eq(Cat(lower, upper, quotient))
        m.d.comb += [
            self.idle.eq(steps == 0), self.finishing.eq(steps == 1), self.any.eq(divisor[-1]), self.finished_places.eq(places),
            self.quotient.eq(quotient),
        ]
        return m


class Division(wiring.Component):
    """Multiplier MR and shift S of softmax rows from their sums l, 17 cycles from ``divide`` to ``done``; formulas in
    ``sim/README.md``.

    Leading zeros are shifted out in two stages, ``units`` dividers take rows in turns, nine cycles each, and the multiplier's
    stages follow. Nothing waits within: a row starts only if a divider will be free when it comes there, which is known from the
    last eight cycles. So there are at most ``units`` rows in any nine cycles.

    Parameters
    ----------
    units : int
        Dividers, from 1 to 9.

    Members
    -------
    divide : In(1); total : In(SUM)
        ``divide`` only with ``ready``; sum l in the cycle behind it.
    mult, shift : In
        M and s, the same until ``idle``.
    multiplication : Out(Multiplication())
    done : Out(1); value : Out(DivisionState)
        Results, in the order of the starts.
    ready, idle : Out(1)
    """

    def __init__(self, units):
        self.units = units
        super().__init__({
            "divide": In(1), "total": In(SUM), "mult": In(signed(18)), "shift": In(6),
            "multiplication": Out(Multiplication()), "done": Out(1), "value": Out(DivisionState),
            "ready": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Starts in the cycles before during which a divider that takes one is not free for another.
        recent = Signal(_STEPS - 1)
        count = Signal(range(_STEPS))
        m.d.sync += [recent.eq(Cat(self.divide, recent)), count.eq(count + self.divide - recent[-1])]
        m.d.comb += self.ready.eq(count < self.units)

        # The sum comes from memory, and is normalized: by bytes, by bits.
        entered = Signal(3)
        total = Signal(SUM, reset_less=True)
        upper = Signal(SUM, reset_less=True)
        upper_places = Signal(2, reset_less=True)
        coarse, coarse_places = shifted_up(m, total, (16, 8))
        fine, fine_places = shifted_up(m, upper, (4, 2, 1))
        m.d.sync += entered.eq(Cat(self.divide, entered))
        with m.If(entered[0]):
            m.d.sync += total.eq(self.total)
        with m.If(entered[1]):
            m.d.sync += [upper.eq(coarse), upper_places.eq(coarse_places)]

        # The dividers.
        dividers = []
        turn = Signal(range(self.units))
        for number in range(self.units):
            m.submodules[f"divider_{number}"] = divider = Divider()
            m.d.comb += [divider.divisor.eq(fine), divider.places.eq(Cat(fine_places, upper_places)),
                         divider.start.eq(entered[2] & (turn == number))]
            dividers.append(divider)
        if self.units > 1:
            with m.If(entered[2]):
                m.d.sync += turn.eq(Mux(turn == self.units - 1, 0, turn + 1))
        finishing = Cat(divider.finishing for divider in dividers)

        # Behind the last step: factors, product, result.
        finished = Signal(3)
        which = Signal(self.units, reset_less=True)
        m.d.sync += [finished.eq(Cat(finishing.any(), finished)), which.eq(finishing)]
        m.d.comb += [
            self.multiplication.valid.eq(finished[0]), self.multiplication.wide.eq(Mux(finished[0], self.mult, 0)),
            self.multiplication.narrow.eq(chosen(which, [divider.quotient for divider in dividers])),
        ]
        last = chosen(finishing, [Cat(divider.finished_places, divider.any) for divider in dividers])
        for stage in range(len(finished)):
            after = Signal(6, name=f"last_{stage}", reset_less=True)
            m.d.sync += after.eq(last)
            last = after
        places, any_key = last[:5], last[5]
        divided = Signal(signed(18))
        m.d.comb += [
            divided.eq((self.multiplication.product + (1 << 15)) >> 16),
            # S is s + b with b = 31 - places, and kept less one; a row without keys has 0 and 1.
            self.value.mult.eq(Mux(any_key, divided, 0)),
            self.value.shift.eq(Mux(any_key, self.shift + 30 - places, 0)),
            self.done.eq(finished[2]),
            self.idle.eq(~entered.any() & ~finished.any() & Cat(divider.idle for divider in dividers).all()),
        ]
        return m
