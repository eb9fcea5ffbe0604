"""Token counters: how the engines wait for each other."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS, TokenSignal, TokenWait

__all__ = ["TokenCounters"]


class TokenCounters(wiring.Component):
    """32 counters of 8 bits; number 0 always holds a token and takes none.

    Parameters: names of the wait ports; names of the signal ports, each with the name of its thread.
    Ports: ``wait_*`` (TokenWait), ``signal_*`` (TokenSignal), ``pc_*`` number of the instruction of each thread that signals;
    ``overflow``: a counter would have passed 255 (it stays there), two cycles after the signal, ``overflow_pc``: the
    instruction that signalled.

    All ports are served in every cycle; signals to one counter add up. A token can be consumed from the second cycle
    after its signal on. One that is consumed leaves its counter a cycle later, and until then ``available`` looks for a second
    one: so what it says needs no adder, and nothing is counted behind it in the same cycle. No counter may be
    consumed through two ports in one cycle: it would lose one token instead of two.
    """

    def __init__(self, waits, signals):
        self.waits, self.signals = tuple(waits), dict(signals)
        threads = dict.fromkeys(self.signals.values())
        super().__init__({
            **{f"wait_{name}": In(TokenWait()) for name in self.waits},
            **{f"signal_{name}": In(TokenSignal()) for name in self.signals},
            **{f"pc_{thread}": In(PC_BITS) for thread in threads},
            "overflow": Out(1), "overflow_pc": Out(PC_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        count = isa.SEMAPHORES
        waits = [getattr(self, f"wait_{name}") for name in self.waits]

        # Signals take a register: they come from the ends of pipelines.
        signals, pcs = [], {}
        for thread in dict.fromkeys(self.signals.values()):
            pcs[thread] = Signal(PC_BITS, name=f"pc_of_{thread}")
            m.d.sync += pcs[thread].eq(getattr(self, f"pc_{thread}"))
        for name, thread in self.signals.items():
            port = getattr(self, f"signal_{name}")
            number, valid = Signal(isa.SEMAPHORE_BITS, name=f"{name}_id"), Signal(name=f"{name}_valid")
            m.d.sync += valid.eq(port.valid & (port.id != 0))
            with m.If(port.valid):
                m.d.sync += number.eq(port.id)
            signals.append((number, valid, thread))

        added, taking = [], []
        for number, valid, _ in signals:
            one_hot = Signal(count, name=f"{number.name}_added")
            with m.If(valid):
                m.d.comb += one_hot.eq(1 << number)
            added.append(one_hot)
        for name, port in zip(self.waits, waits):
            one_hot = Signal(count, name=f"{name}_taken")
            with m.If(port.consume):
                m.d.comb += one_hot.eq(1 << port.id)
            taking.append(one_hot)

        taken = Signal(count)
        m.d.sync += taken.eq(reduce(or_, taking))
        # Counters that something is added to or taken from, nearly always none: nothing else is computed for the others.
        touched = Signal(count)
        m.d.comb += touched.eq(reduce(or_, added, taken))

        held, held_twice = [Const(1, 1)], [Const(1, 1)]
        exceeded = Signal(count)
        for n in range(1, count):
            tokens = Signal(range(isa.SEMAPHORE_LIMIT + 1), name=f"tokens_{n}")
            change = Signal(range(-1, len(added) + 1), name=f"change_{n}")
            total = Signal(len(tokens) + 1, name=f"total_{n}")
            some, several, over = Signal(name=f"holds_{n}"), Signal(name=f"holds_several_{n}"), Signal(name=f"overflows_{n}")
            m.d.comb += [change.eq(sum((a[n] for a in added), 0) - taken[n]), over.eq(total > isa.SEMAPHORE_LIMIT)]
            m.d.sync += exceeded[n].eq(over)
            with m.If(touched[n]):
                m.d.comb += total.eq(tokens + change)
                with m.If(~over):
                    m.d.sync += [tokens.eq(total), some.eq(total.any()), several.eq(total[1:].any())]
            held.append(some)
            held_twice.append(several)
        holds, holds_several = Cat(held), Cat(held_twice)
        ready = (taken & holds_several) | (~taken & holds)
        for port in waits:
            m.d.comb += port.available.eq(ready.bit_select(port.id, 1))

        # Who is to blame is looked up a cycle after the sums, in what was then.
        m.d.comb += self.overflow.eq(exceeded.any())
        blamed = {}
        for thread, pc in pcs.items():
            blamed[thread] = Signal(PC_BITS, name=f"pc_before_of_{thread}", reset_less=True)
            m.d.sync += blamed[thread].eq(pc)
        for number, valid, thread in reversed(signals):
            number_before = Signal.like(number, name=f"{number.name}_before", reset_less=True)
            valid_before = Signal(name=f"{valid.name}_before")
            m.d.sync += [number_before.eq(number), valid_before.eq(valid)]
            with m.If(valid_before & exceeded.bit_select(number_before, 1)):
                m.d.comb += self.overflow_pc.eq(blamed[thread])
        return m
