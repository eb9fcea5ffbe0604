"""Performance counters: where the cycles of each thread go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import ThreadState

__all__ = ["ThreadCounters"]


class ThreadCounters(wiring.Component):
    """Cycles in each `ThreadState` but IDLE, 32 bits each.

    Ports: ``clear``; ``running``: cycles count; ``state`` of the thread, ``counted_state`` a cycle later; ``asked``: a state but
    IDLE, ``cycles`` in it, same cycle.

    A thread is in one state at a time, so one adder does for all, and they are words of one memory.
    """

    clear: In(1)
    running: In(1)
    state: In(ThreadState)
    counted_state: Out(ThreadState)
    asked: In(ThreadState)
    cycles: Out(32)

    def elaborate(self, platform):
        m = Module()
        # The profiler reads it beside the counters, by its name.
        m.d.sync += self.counted_state.eq(self.state)

        states = len(ThreadState) - 1
        m.submodules.storage = storage = memory.Memory(shape=32, depth=states, init=[])
        written = Signal(states)        # since they were cleared

        def look_up(state):
            """Number of the state's word, and the cycles in it."""
            read = storage.read_port(domain="comb")
            m.d.comb += read.addr.eq(state.as_value() - 1)
            return read.addr, Mux(written.bit_select(read.addr, 1), read.data, 0)

        number, counted = look_up(self.counted_state)
        _, asked = look_up(self.asked)
        # The word takes a register on its way to the adder, and goes round there while the state stays.
        counts, counting = Signal(), Signal()
        number_before = Signal.like(number, reset_less=True)
        word, more = Signal(32, reset_less=True), Signal(32)
        write = storage.write_port()
        m.d.comb += [
            self.cycles.eq(asked),
            counts.eq(self.running & (self.counted_state != ThreadState.IDLE)),
            more.eq(word + 1),
            write.en.eq(counting), write.addr.eq(number_before), write.data.eq(more),
        ]
        m.d.sync += counting.eq(counts & ~self.clear)
        with m.If(counts):
            m.d.sync += [number_before.eq(number), word.eq(Mux(counting & (number == number_before), more, counted))]
        with m.If(self.clear):
            m.d.sync += written.eq(0)
        with m.Elif(counting):
            m.d.sync += written.bit_select(number_before, 1).eq(1)
        return m
