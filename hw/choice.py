"""One of several words."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Choice"]


class Choice(wiring.Component):
    """A multiplexer of its own: synthesis for a device can take the fastest one that it has (`silicon.choice`).

    Parameters
    ----------
    width : int
        Bits of a word.
    count : int
        Words.

    Members
    -------
    words : In(ArrayLayout(width, count))
    number : In(range(count))
    word : Out(width)
        The word of that ``number``.
    """

    def __init__(self, width, count):
        self.width, self.count = width, count
        super().__init__({"words": In(data.ArrayLayout(width, count)), "number": In(range(count)), "word": Out(width)})

    def elaborate(self, platform):
        m = Module()
        with m.Switch(self.number):
            for number in range(self.count):
                with m.Case(number):
                    m.d.comb += self.word.eq(self.words[number])
        return m
