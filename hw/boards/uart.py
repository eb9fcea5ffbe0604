"""A serial line: 8 data bits, no parity, one stop bit, lowest bit first."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["MIN_DIVISOR", "UartReceiver", "UartTransmitter"]

#: Fewest clock cycles a bit: the receiver sees an edge up to a cycle late and must still find the middle of the bit.
MIN_DIVISOR = 4


class UartReceiver(wiring.Component):
    """Bytes from the line.

    Parameters: ``divisor``, clock cycles a bit (at least `MIN_DIVISOR`). Ports: ``line``, idle high, not synchronous to
    anything; ``valid``, for one cycle with each byte in ``data``; ``error``, with it: the stop bit was low, so the byte is
    wrong. Nothing waits: who does not take a byte loses it.
    """

    def __init__(self, divisor):
        if divisor < MIN_DIVISOR:
            raise ValueError(f"divisor must be at least {MIN_DIVISOR}, not {divisor}")
        self.divisor = divisor
        super().__init__({"line": In(1, init=1), "valid": Out(1), "data": Out(8), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.line, line, init=1)
        timer, left = Signal(range(self.divisor)), Signal(range(8))
        sample = Signal()
        m.d.comb += sample.eq(timer == 0)
        m.d.sync += [self.valid.eq(0), timer.eq(timer - 1)]
        with m.If(sample):
            m.d.sync += timer.eq(self.divisor - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += timer.eq(self.divisor // 2 - 1)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += left.eq(7)
                with m.If(sample):
                    with m.If(line):
                        m.next = "IDLE"         # a spike
                    with m.Else():
                        m.next = "DATA"
            with m.State("DATA"):
                with m.If(sample):
                    m.d.sync += [self.data.eq(Cat(self.data[1:], line)), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(sample):
                    m.d.sync += [self.valid.eq(1), self.error.eq(~line)]
                    with m.If(line):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "BREAK"
            with m.State("BREAK"):
                # A line that stays low is unplugged or has slipped by some bits: the next byte begins after a high.
                with m.If(line):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to the line.

    Parameters: ``divisor``, clock cycles a bit. Ports: ``i``, stream of bytes, taken when the one before has been sent;
    ``line``, a register, idle high.
    """

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "line": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        timer, left = Signal(range(self.divisor)), Signal(range(11))
        waiting = Signal(9, init=0x1FF)
        m.d.comb += self.i.ready.eq((left == 0) & (timer == 0))
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(left != 0):
            m.d.sync += [Cat(self.line, waiting).eq(Cat(waiting, Const(1, 1))), left.eq(left - 1),
                         timer.eq(self.divisor - 1)]
        with m.Elif(self.i.valid):
            # Start bit at once, then eight bits and the stop bit.
            m.d.sync += [self.line.eq(0), waiting.eq(Cat(self.i.payload, Const(1, 1))), left.eq(9),
                         timer.eq(self.divisor - 1)]
        return m
