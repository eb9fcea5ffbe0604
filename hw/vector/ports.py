"""The engine's ways to the scratchpad."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import ScratchpadRead, ScratchpadWrite
from .job import Element, Step
from .loops import AddressWalker

__all__ = ["SharedRead", "Writer"]


class SharedRead(wiring.Component):
    """Two readers on one read port; ``first`` goes first, but a request stays until it is accepted.

    Parameters: ``config``. Ports: ``first``, ``second`` In(ScratchpadRead), ``port`` Out(ScratchpadRead). Both see the data.
    ``first_goes_on``, ``first_is_last`` In(1): ``first`` asks in the next cycle, unless its request of this one is accepted and
    its last. The arbitration begins with whose turn it is: a register. ``first.ready`` only comes with ``first.valid``.
    """

    def __init__(self, config):
        super().__init__({"first": In(ScratchpadRead(config)), "second": In(ScratchpadRead(config)),
                          "first_goes_on": In(1), "first_is_last": In(1), "port": Out(ScratchpadRead(config))})

    def elaborate(self, platform):
        m = Module()
        port, first, second = self.port, self.first, self.second
        seconds_turn = Signal(init=1)
        m.d.comb += [
            port.valid.eq(~seconds_turn | second.valid),        # `first` asks whenever it is its turn
            port.line.eq(Mux(seconds_turn, second.line, first.line)),
            first.ready.eq(port.ready & ~seconds_turn), second.ready.eq(port.ready & seconds_turn),
            first.data.eq(port.data), second.data.eq(port.data),
        ]
        # The port's answer comes late.
        m.d.sync += seconds_turn.eq(~self.first_goes_on | Mux(port.ready, ~seconds_turn & self.first_is_last,
                                                              seconds_turn & second.valid))
        return m


class Writer(wiring.Component):
    """Writes groups of results where the destination's loop has come to.

    The scratchpad never refuses a write of this engine: ``write.ready`` is taken to be 1.

    Parameters
    ----------
    config : Config

    Members
    -------
    load, base, inner, outer, element : In
        Destination of a job, from ``load`` on.
    valid, values, group, step : In
        A group of results (INT16, or INT8 or UINT8 in the low bytes), where in the panel it lies, how the address goes on.
    more_panels : Out(12)
        Panels but one that the first row of a loop over rows has written so far.
    write : Out(ScratchpadWrite(config))
    """

    def __init__(self, config):
        self.config = config
        lanes = config.vector_lanes
        word = (config.scratchpad_words - 1).bit_length()
        super().__init__({
            "load": In(1), "base": In(word), "inner": In(word), "outer": In(word), "element": In(Element),
            "valid": In(1), "values": In(data.ArrayLayout(signed(16), lanes)),
            "group": In(range(config.panel // lanes)), "step": In(Step), "more_panels": Out(12),
            "write": Out(ScratchpadWrite(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes, panel, word_bytes = config.vector_lanes, config.panel, config.word_bytes
        groups = panel // lanes
        m.submodules.address = address = AddressWalker(len(self.base))
        write = self.write
        m.d.comb += [
            write.valid.eq(self.valid),
            address.load.eq(self.load), address.base.eq(self.base), address.inner.eq(self.inner),
            address.outer.eq(self.outer), address.advance.eq(self.valid), address.step.eq(self.step),
            write.line.eq(address.address[1:]),
        ]

        # Each byte of a line has one or two lanes to choose from; the mask says which bytes count.
        wide = Signal()
        m.d.comb += wide.eq(self.element == Element.INT16)
        chosen = [self.group == group for group in range(groups)]
        half = address.address[0]
        for byte in range(2 * word_bytes):
            data_byte = write.data[8 * byte:8 * byte + 8]
            narrow_channel, wide_channel = byte % word_bytes, byte // 2
            narrow_value, narrow_mask, wide_value, wide_mask = 0, 0, 0, 0
            if narrow_channel < panel:
                narrow_value = self.values[narrow_channel % lanes][:8]
                narrow_mask = chosen[narrow_channel // lanes] & (half == byte // word_bytes)
            if wide_channel < panel:
                wide_value = self.values[wide_channel % lanes][8 * (byte % 2):8 * (byte % 2) + 8]
                wide_mask = chosen[wide_channel // lanes]
            m.d.comb += [
                data_byte.eq(Mux(wide, wide_value, narrow_value)),
                write.mask[byte].eq(Mux(wide, wide_mask, narrow_mask)),
            ]

        first_row = Signal()
        with m.If(self.load):
            m.d.sync += [first_row.eq(1), self.more_panels.eq(-1)]
        with m.Elif(self.valid):
            with m.If(first_row & chosen[-1]):
                m.d.sync += self.more_panels.eq(self.more_panels + 1)
            with m.If(self.step == Step.OUTER):
                m.d.sync += first_row.eq(0)
        return m
