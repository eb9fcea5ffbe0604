"""Token counters: how the engines wait for each other."""

from functools import reduce
from itertools import combinations
from operator import or_, xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..choice import Choice
from ..interfaces import PC_BITS, TokenSignal, TokenWait

__all__ = ["TokenCounters"]


class TokenCounters(wiring.Component):
    """32 counters of 8 bits; number 0 always holds a token and takes none.

    Parameters: names of the wait ports and of the signal ports, each with the name of its thread; names of threads that are
    ``distant``: their signals end long paths and take a register more.
    Ports: ``wait_*`` (TokenWait), ``signal_*`` (TokenSignal), ``pc_*`` number of the instruction of each thread that signals;
    ``overflow``: a counter has passed 255, from three cycles after the signal on (four, if distant); ``overflow_pc``: in the
    cycle after the first of them, the instruction that signalled. A reset has to follow within a few cycles.

    All ports are served in every cycle; signals to one counter add up. A token can be consumed from the second cycle after its
    signal on (the third, if distant). One that is consumed leaves its counter a cycle later, so that neither adder nor decoder is
    behind what the threads decide. Neither is a selection among the counters: it is made a cycle ahead, for ``available``, and as
    it does not know yet what is consumed meanwhile, none is available to that thread in the cycle after. No counter may be
    consumed by two threads, nor through two ports in one cycle.
    """

    def __init__(self, waits, signals, distant=()):
        self.waits, self.signals, self.distant = dict(waits), dict(signals), frozenset(distant)
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

        def decoded(number, valid):
            """A bit for each counter, which simulation takes at once. With a multiplexer in place of the gates synthesis would make
            a reset of it, which is a long way."""
            return (1 << number)[:count] & valid.replicate(count)

        def arrived(value, thread, reset_less=True):
            """What a thread says, a cycle later if that is distant."""
            if thread not in self.distant:
                return value
            later = Signal.like(value, name=f"{value.name}_arrived", reset_less=reset_less)
            m.d.sync += later.eq(value)
            return later

        # Signals take a register, as they come from the ends of pipelines, and are decoded before it: adders are behind.
        signals, added, pcs = [], [], {}
        for thread in dict.fromkeys(self.signals.values()):
            pcs[thread] = Signal(PC_BITS, name=f"pc_of_{thread}", reset_less=True)
            m.d.sync += pcs[thread].eq(arrived(getattr(self, f"pc_{thread}"), thread))
        for name, thread in self.signals.items():
            port = getattr(self, f"signal_{name}")
            told, given = arrived(port.id, thread), arrived(port.valid, thread, reset_less=False)
            number, valid = Signal(isa.SEMAPHORE_BITS, name=f"{name}_id", reset_less=True), Signal(name=f"{name}_valid")
            added.append(Signal(count, name=f"{name}_added"))
            m.d.sync += [valid.eq(given), added[-1].eq(decoded(told, given))]
            with m.If(given):
                m.d.sync += number.eq(told)
            signals.append((number, valid, thread))

        # What is consumed takes registers here, too: threads decide late, and may be far away.
        took, taken = {}, Signal(count)
        words = {thread: Signal(count, name=f"{thread}_taken") for thread in self.waits.values()}
        for name, port in zip(self.waits, waits):
            took[name] = Signal(name=f"{name}_took")
            m.d.sync += took[name].eq(port.consume)
        for thread, word in words.items():
            m.d.sync += word.eq(reduce(or_, (decoded(port.id, port.consume) for name, port in zip(self.waits, waits)
                                             if self.waits[name] == thread)))
        m.d.comb += taken.eq(reduce(or_, words.values()))
        any_added, two_added, less_one = _count_ones(m, added)

        # Beside each counter stands whether it is more than one: with its lowest bit that is all there is to select.
        lowest, several, exceeded = [Const(1, 1)], [Const(1, 1)], [Const(0, 1)]
        changes = Signal()      # nearly always none: then nothing else is computed
        m.d.comb += changes.eq(Cat(*(valid for _, valid, _ in signals), *took.values()).any())
        with m.If(changes):
            for n in range(1, count):
                # One bit more than a counter has tells of the overflow; the reset comes before it could wrap.
                tokens = Signal(isa.SEMAPHORE_LIMIT.bit_length() + 1, name=f"tokens_{n}")
                more = Signal(name=f"several_{n}")
                # One less than what is added, and one that comes as the adder's carry unless it is taken.
                added_less = Cat(bits[n] for bits in less_one).as_signed()
                m.d.sync += [
                    tokens.eq((Cat(1, tokens) + Cat(~taken[n], added_less).as_signed())[1:]),
                    more.eq(two_added[n] | Mux(taken[n], tokens[2:].any() | tokens[:2].all() | (any_added[n] & more),
                                               more | (any_added[n] & tokens[0]))),
                ]
                lowest.append(tokens[0])
                several.append(more)
                exceeded.append(tokens[-1])
        exceeded = Cat(exceeded)
        # Signals are compared with what the threads wait for, beside the selection: they would be long on the way through it. There
        # are none in most cycles.
        added_now = Signal(len(waits))
        for number, valid, _ in signals:
            with m.If(valid):
                for position, port in enumerate(waits):
                    with m.If(number == port.id):
                        m.d.comb += added_now[position].eq(1)
        for position, (name, port) in enumerate(zip(self.waits, waits)):
            same = {other: Const(1, 1) if other == name else getattr(self, f"wait_{other}").id == port.id
                    for other, thread in self.waits.items() if thread == self.waits[name]}
            # A port still names the counter of which it has consumed.
            leaves = Cat(took[other] & equal for other, equal in same.items()).any()
            consumed = Cat(getattr(self, f"wait_{other}").consume & equal for other, equal in same.items()).any()
            m.submodules[f"{name}_choice"] = choice = Choice(2, count)
            m.d.comb += [choice.number.eq(port.id),
                         *(word.eq(Cat(pair)) for word, pair in zip(choice.words, zip(lowest, several)))]
            one, more = choice.word
            m.d.sync += port.available.eq((more | (one & ~leaves) | added_now[position]) & ~consumed)

        # Much depends on an overflow: it takes a register. Who is to blame is looked up beside it, in what was then, and chosen
        # behind it.
        m.d.sync += self.overflow.eq(exceeded.any())
        blamed = {}
        for thread, pc in pcs.items():
            before = Signal(PC_BITS, name=f"pc_before_of_{thread}", reset_less=True)
            blamed[thread] = Signal(PC_BITS, name=f"pc_blamed_of_{thread}", reset_less=True)
            m.d.sync += [before.eq(pc), blamed[thread].eq(before)]
        for number, valid, thread in reversed(signals):
            number_before = Signal.like(number, name=f"{number.name}_before", reset_less=True)
            valid_before, guilty = Signal(name=f"{valid.name}_before"), Signal(name=f"{number.name}_guilty")
            m.d.sync += [number_before.eq(number), valid_before.eq(valid),
                         guilty.eq(valid_before & exceeded.bit_select(number_before, 1))]
            with m.If(guilty):
                m.d.sync += self.overflow_pc.eq(blamed[thread])
        return m


def _count_ones(m, words):
    """Of up to seven words: whether any of these has a bit set, whether two have, and how many, less one, as four words, the
    lowest digit first, of two's complement. By four words and three: a gate of four inputs each, and of what they say."""
    def word(name, value):
        result = Signal(len(words[0]), name=name)
        m.d.comb += result.eq(value)
        return result

    words = [*words, *[Const(0, len(words[0]))] * (7 - len(words))]
    a, b, c, d, *three = words
    three_odd = word("three_odd", reduce(xor, three))
    three_twos = word("three_twos", reduce(or_, (x & y for x, y in combinations(three, 2))))
    four_odd = word("four_odd", a ^ b ^ c ^ d)
    four_all = word("four_all", a & b & c & d)
    four_twos = word("four_twos", ((a & b) | (c & d) | ((a | b) & (c | d))) & ~four_all)
    carry = four_odd & three_odd
    ones, twos = four_odd ^ three_odd, four_twos ^ three_twos ^ carry
    fours = four_all | (four_twos & three_twos) | ((four_twos | three_twos) & carry)
    any_set = word("any_added", reduce(or_, words))
    less_one = ~ones, ~(twos ^ ones), fours ^ ~(twos | ones), ~any_set
    two_set = word("two_added", four_all | four_twos | three_twos | carry)
    return any_set, two_set, [word(f"less_one_{n}", digit) for n, digit in enumerate(less_one)]
