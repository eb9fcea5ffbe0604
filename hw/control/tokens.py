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

    Parameters: names of the wait ports and of the signal ports, each with the name of its thread.
    Ports: ``wait_*`` (TokenWait), ``signal_*`` (TokenSignal), ``pc_*`` number of the instruction of each thread that signals;
    ``overflow``: a counter has passed 255, from two cycles after the signal on, ``overflow_pc``: in the first of them, the
    instruction that signalled. A reset has to follow within a few cycles.

    All ports are served in every cycle; signals to one counter add up. A token can be consumed from the second cycle
    after its signal on. One that is consumed leaves its counter a cycle later, so that no adder is behind what the threads
    decide. Neither is a selection among the counters: it is made a cycle ahead, for ``available``, and as it does not know yet
    what is consumed meanwhile, none is available to that thread in the cycle after. No counter may be consumed by two threads,
    nor through two ports in one cycle.
    """

    def __init__(self, waits, signals):
        self.waits, self.signals = dict(waits), dict(signals)
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

        # Words with a bit for each counter, which simulation takes at once.
        def one_hot(name, number, valid):
            """By an AND for each counter, of one line of four and one of eight."""
            low, high = Signal(4, name=f"{name}_low"), Signal(count // 4, name=f"{name}_high")
            m.d.comb += [low.eq(Mux(valid, 1 << number[:2], 0)), high.eq(1 << number[2:])]
            return low.replicate(count // 4) & Cat(line.replicate(4) for line in high)

        added = [one_hot(number.name, number, valid) for number, valid, _ in signals]
        taking = [one_hot(f"{name}_taking", port.id, port.consume) for name, port in zip(self.waits, waits)]
        any_added, any_taking = reduce(or_, added), reduce(or_, taking)
        taken = Signal(count)
        m.d.sync += taken.eq(any_taking)
        ones, twos, fours = _number_of_ones(added)
        borrow = taken & ~ones
        change = ones ^ taken, twos ^ borrow, fours ^ (borrow & ~twos), taken & ~any_added

        # Whether a counter held one beside the token that leaves it, before what is added now.
        holds, exceeded = [Const(1, 1)], [Const(0, 1)]
        for n in range(1, count):
            # One bit more than a counter has tells of the overflow; the reset comes before it could wrap.
            tokens = Signal(isa.SEMAPHORE_LIMIT.bit_length() + 1, name=f"tokens_{n}")
            with m.If(any_added[n] | taken[n]):     # nearly always not: then nothing else is computed
                m.d.sync += tokens.eq(tokens + Cat(bits[n] for bits in change).as_signed())
            holds.append(tokens[1:].any() | (tokens[0] & ~taken[n]))
            exceeded.append(tokens[-1])
        holds, exceeded = Cat(holds), Cat(exceeded)
        # Signals are compared with what the threads wait for, beside the selection: they would be long on the way through it. There
        # are none in most cycles.
        added_now = Signal(len(waits))
        for number, valid, _ in signals:
            with m.If(valid):
                for position, port in enumerate(waits):
                    with m.If(number == port.id):
                        m.d.comb += added_now[position].eq(1)
        for position, (name, port) in enumerate(zip(self.waits, waits)):
            of_thread = [wait for wait, thread in zip(waits, self.waits.values()) if thread == self.waits[name]]
            consumed = Cat(wait.consume & (wait.id == port.id) for wait in of_thread).any()
            m.d.sync += port.available.eq((holds.bit_select(port.id, 1) | added_now[position]) & ~consumed)

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


def _number_of_ones(words):
    """Three words, of up to seven: how many of these have a bit set, lowest digit first. Full adders, none behind a sum's
    carries."""
    def full_adder(a, b, c):
        return a ^ b ^ c, (a & b) | (c & (a | b))

    a, b, c, d, e, f, g = [*words, *[Const(0, len(words[0]))] * (7 - len(words))]
    (ones_a, twos_a), (ones_d, twos_d) = full_adder(a, b, c), full_adder(d, e, f)
    ones, twos_g = full_adder(ones_a, ones_d, g)
    return ones, *full_adder(twos_a, twos_d, twos_g)
