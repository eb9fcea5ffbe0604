"""The word of one of several memories."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BankChoice"]


class BankChoice(wiring.Component):
    """A multiplexer of its own: synthesis for a device whose memories answer late can take its fastest one (`silicon.choice`).

    Parameters
    ----------
    width : int
        Bits of a word.
    banks : int

    Members
    -------
    words : In(ArrayLayout(width, banks))
    bank : In(range(banks))
    word : Out(width)
        That of ``bank``.
    """

    def __init__(self, width, banks):
        self.width, self.banks = width, banks
        super().__init__({"words": In(data.ArrayLayout(width, banks)), "bank": In(range(banks)), "word": Out(width)})

    def elaborate(self, platform):
        m = Module()
        with m.Switch(self.bank):
            for number in range(self.banks):
                with m.Case(number):
                    m.d.comb += self.word.eq(self.words[number])
        return m
