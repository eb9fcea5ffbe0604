"""Performance counters: where the cycles of each thread go."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import ThreadState

__all__ = ["ThreadCounters"]

_COUNTED = [state for state in ThreadState if state is not ThreadState.IDLE]


class ThreadCounters(wiring.Component):
    """Cycles in each `ThreadState` but IDLE, 32 bits each.

    Ports: ``clear``; ``running``: cycles count; ``state`` of the thread, ``counted_state`` a cycle later; ``cycles``: one value for
    each state, BUSY first.
    """

    clear: In(1)
    running: In(1)
    state: In(ThreadState)
    counted_state: Out(ThreadState)
    cycles: Out(data.ArrayLayout(32, len(_COUNTED)))

    def elaborate(self, platform):
        m = Module()
        # The profiler reads it beside the counters, by its name.
        m.d.sync += self.counted_state.eq(self.state)
        with m.If(self.clear):
            m.d.sync += self.cycles.eq(0)
        with m.Elif(self.running):
            with m.Switch(self.counted_state):
                for number, counted in enumerate(_COUNTED):
                    with m.Case(counted):
                        m.d.sync += self.cycles[number].eq(self.cycles[number] + 1)
        return m
