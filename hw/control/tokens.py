"""Token counters: how the engines wait for each other."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS, TokenSignal, TokenWait

__all__ = ["TokenCounters"]


class TokenCounters(wiring.Component):
    """32 counters of 8 bits; number 0 always holds a token and takes none.

    Parameters: names of the wait ports; names of the signal ports, each with the name of its thread.
    Ports: ``wait_*`` (TokenWait), ``signal_*`` (TokenSignal), ``pc_*`` number of the instruction of each thread that signals;
    ``overflow``: a counter has passed 255, from two cycles after the signal on, ``overflow_pc``: in the first of them, the
    instruction that signalled. A reset has to follow within a few cycles.

    All ports are served in every cycle; signals to one counter add up. A token can be consumed from the second cycle
    after its signal on. One that is consumed leaves its counter a cycle later, so that no adder is behind what the threads
    decide; whether one is left for the next cycle is kept in a register beside the counter, and ``available`` only selects
    among these. No counter may be consumed through two ports in one cycle: it would lose one token instead of two.
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
            pcs[thread] = Signal(PC_BITS, name=f"pc_of_{thread}", reset_less=True)
            m.d.sync += pcs[thread].eq(getattr(self, f"pc_{thread}"))
        for name, thread in self.signals.items():
            port = getattr(self, f"signal_{name}")
            number, valid = Signal(isa.SEMAPHORE_BITS, name=f"{name}_id", reset_less=True), Signal(name=f"{name}_valid")
            m.d.sync += valid.eq(port.valid & (port.id != 0))
            with m.If(port.valid):
                m.d.sync += number.eq(port.id)
            signals.append((number, valid, thread))

        def lines(name, number, valid):
            """For each counter, whether it is the one: the AND of one line of four and one of eight, made once."""
            low, high = Signal(4, name=f"{name}_low"), Signal(count // 4, name=f"{name}_high")
            m.d.comb += [high.eq(1 << number[2:]), low.eq(Mux(valid, 1 << number[:2], 0))]
            return [low[n % 4] & high[n // 4] for n in range(count)]

        added = [lines(number.name, number, valid) for number, valid, _ in signals]
        taking = [lines(f"{name}_taking", port.id, port.consume) for name, port in zip(self.waits, waits)]

        ready, exceeded = [Const(1, 1)], [Const(0, 1)]
        for n in range(1, count):
            # One bit more than a counter has tells of the overflow; the reset comes before it could wrap.
            tokens = Signal(isa.SEMAPHORE_LIMIT.bit_length() + 1, name=f"tokens_{n}")
            holds, taken = Signal(name=f"holds_{n}"), Signal(name=f"taken_{n}")
            any_added, any_taking = Signal(name=f"any_added_{n}"), Signal(name=f"any_taking_{n}")
            m.d.comb += [any_added.eq(reduce(or_, (lines[n] for lines in added))),
                         any_taking.eq(reduce(or_, (lines[n] for lines in taking)))]
            ones, twos, fours = _number_of_ones([lines[n] for lines in added])
            borrow = taken & ~ones
            change = Cat(ones ^ taken, twos ^ borrow, fours ^ (borrow & ~twos),
                         (taken & ~any_added).replicate(len(tokens) - 3))
            several = tokens[2:].any() | (tokens[1] & (tokens[0] | ~taken))     # beside the one that leaves
            m.d.sync += [
                tokens.eq(tokens + change), taken.eq(any_taking),
                # Needs no sum: what is added is there, and what is taken leaves one if it was one of several.
                holds.eq(any_added | Mux(any_taking, several, holds)),
            ]
            ready.append(holds)
            exceeded.append(tokens[-1])
        ready, exceeded = Cat(ready), Cat(exceeded)
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


def _number_of_ones(bits):
    """Three bits, of up to seven, lowest first; by full adders, whose depth is less than that of sums in a chain."""
    def full_adder(a, b, c):
        return a ^ b ^ c, (a & b) | (c & (a | b))

    a, b, c, d, e, f, g = [*bits, *[Const(0, 1)] * (7 - len(bits))]
    (ones_a, twos_a), (ones_d, twos_d) = full_adder(a, b, c), full_adder(d, e, f)
    ones, twos_g = full_adder(ones_a, ones_d, g)
    return ones, *full_adder(twos_a, twos_d, twos_g)
