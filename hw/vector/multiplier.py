"""The multiplier that arithmetic on rows shares."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

__all__ = ["Multiplication", "RowMultiplier", "chosen"]

_WIDE, _NARROW = signed(33), signed(19)
_PRODUCT = signed(52)


class Multiplication(Signature):
    """``product`` of ``wide`` and ``narrow``, given with ``valid`` and 0 without it, can be read two cycles later, in that
    cycle if others follow. Unsigned up to 32 by 18 bits, or 18 by 18 signed."""

    def __init__(self):
        super().__init__({"valid": Out(1), "wide": Out(_WIDE), "narrow": Out(_NARROW), "product": In(_PRODUCT)})


def chosen(flags, values):
    """The value of the one of ``flags`` that is set, or 0: two levels for many values, which flags in turn would not be."""
    result = Const(0)
    for flag, value in zip(flags, values, strict=True):
        result = result | Mux(flag, value, 0)
    return result


class RowMultiplier(wiring.Component):
    """One multiplier for two users, who never ask in the same cycle; a multiplication a cycle.

    Members: ``first``, ``second`` : In(Multiplication())
    """
    first: In(Multiplication())
    second: In(Multiplication())

    def elaborate(self, platform):
        m = Module()
        wide = Signal(_WIDE, reset_less=True)
        narrow = Signal(_NARROW, reset_less=True)
        product = Signal(_PRODUCT, reset_less=True)
        multiplying = Signal()
        asked = self.first.valid | self.second.valid
        m.d.sync += multiplying.eq(asked)
        with m.If(asked):
            m.d.sync += [wide.eq(self.first.wide | self.second.wide), narrow.eq(self.first.narrow | self.second.narrow)]
        with m.If(multiplying):
            m.d.sync += product.eq(wide * narrow)
        m.d.comb += [self.first.product.eq(product), self.second.product.eq(product)]
        return m
