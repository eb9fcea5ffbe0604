"""Token counters as a bench needs them: all of them visible, tokens given from outside."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw import isa
from weft.hw.interfaces import TokenSignal, TokenWait
from weft.sim.cocotb.wait_monitor import watch_waits

__all__ = ["PlainCounters"]


class PlainCounters(wiring.Component):
    """32 counters of 8 bits without overflow; a token can be consumed from the second cycle after its signal on.

    Parameters: names of the wait ports; names of the signal ports.
    Ports: ``wait_*`` (TokenWait), ``signal_*`` (TokenSignal); ``give`` adds a token to counter ``give_id``; ``counts``
    shows all counters, number 0 in the lowest byte, ``broken`` which of the wait ports were ever used against `TokenWait`.
    """

    def __init__(self, waits, signals):
        self.waits, self.signals = tuple(waits), tuple(signals)
        super().__init__({
            **{f"wait_{name}": In(TokenWait()) for name in self.waits},
            **{f"signal_{name}": In(TokenSignal()) for name in self.signals},
            "give": In(1), "give_id": In(5), "counts": Out(8 * isa.SEMAPHORES),
            "broken": Out(len(self.waits)),
        })

    def elaborate(self, platform):
        m = Module()
        counters = Array(Signal(8, name=f"counter_{n}") for n in range(isa.SEMAPHORES))
        waits = [getattr(self, f"wait_{name}") for name in self.waits]
        signals = [getattr(self, f"signal_{name}") for name in self.signals]
        for wait in waits:
            consumed = Cat(other.consume & (other.id == wait.id) for other in waits).any()
            m.d.sync += wait.available.eq(((wait.id == 0) | (counters[wait.id] != 0)) & ~consumed)
        for number, counter in enumerate(counters):
            if number:
                added = [signal.valid & (signal.id == number) for signal in signals]
                taken = [wait.consume & (wait.id == number) for wait in waits]
                m.d.sync += counter.eq(counter + sum(added) + (self.give & (self.give_id == number)) - sum(taken))
        m.d.comb += [self.counts.eq(Cat(*counters)), self.broken.eq(watch_waits(m, waits))]
        return m
