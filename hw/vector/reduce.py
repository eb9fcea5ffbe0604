"""Trees over the lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LaneSum", "LaneMaximum", "tree_latency"]


def tree_latency(lanes):
    """Cycles that a sum over ``lanes`` values takes."""
    return max(1, ((lanes - 1).bit_length() + 1) // 2)


def _level(combine, values):
    """The next level of a binary tree: pairs combined, what is left over behind them."""
    pairs = [combine(*values[i:i + 2]) for i in range(0, len(values) - 1, 2)]
    return pairs + values[len(values) & ~1:]


def _stage(m, valid, values, number):
    """A register behind each value, with ``valid`` as its enable, and `valid` with them: ``(valid, registers)``."""
    registers = [Signal.like(value, name=f"stage_{number}_{i}", reset_less=True) for i, value in enumerate(values)]
    with m.If(valid):
        m.d.sync += [register.eq(value) for register, value in zip(registers, values)]
    after = Signal(name=f"valid_{number}")
    m.d.sync += after.eq(valid)
    return after, registers


class LaneSum(wiring.Component):
    """``total = sum(values)``, exact, one set of values a cycle; a register after every second level.

    Parameters: ``lanes``; ``width`` of the signed values. Ports: ``valid``, ``values`` In(ArrayLayout(signed(width),
    lanes)), ``total`` Out(signed), ``latency`` cycles later.
    """

    def __init__(self, lanes, width):
        self.lanes = lanes
        self.latency = tree_latency(lanes)
        super().__init__({"valid": In(1), "values": In(data.ArrayLayout(signed(width), lanes)),
                          "total": Out(signed(width + (lanes - 1).bit_length()))})

    def elaborate(self, platform):
        m = Module()
        valid, values = self.valid, [self.values[lane] for lane in range(self.lanes)]
        for stage in range(self.latency):
            for _ in range(2):
                values = _level(lambda a, b: a + b, values)
            valid, values = _stage(m, valid, values, stage)
        m.d.comb += self.total.eq(values[0])
        return m


class LaneMaximum(wiring.Component):
    """The greatest of the unsigned values that count, one set a cycle, but for the tree's last level: a level a cycle, as a
    comparison takes as long as an addition and chooses behind it.

    Parameters: ``lanes``; ``width`` of the values. Ports: ``valid``, ``values`` In(ArrayLayout(width, lanes)), ``counts``
    In(lanes); ``latency`` cycles later ``left`` Out(ArrayLayout(width, 2)), of which the greater is meant, 0 if none counts, and
    ``some`` Out(1), whether any does.
    """

    def __init__(self, lanes, width):
        self.lanes, self.width = lanes, width
        self.latency = max(1, (lanes - 1).bit_length() - 1)
        super().__init__({"valid": In(1), "values": In(data.ArrayLayout(width, lanes)), "counts": In(lanes),
                          "left": Out(data.ArrayLayout(width, 2)), "some": Out(1)})

    def elaborate(self, platform):
        m = Module()
        # Values are compared as they come, while what counts decides beside them; behind the first stage what does not is 0.
        numbers = range(self.lanes)
        values = [Mux(self.counts[i], self.values[i], 0) for i in numbers]
        if self.lanes > 2:
            values = [
                Mux(self.counts[i] | self.counts[i + 1],
                    Mux(self.counts[i] & (~self.counts[i + 1] | (self.values[i] > self.values[i + 1])),
                        self.values[i], self.values[i + 1]), 0)
                for i in numbers[:-1:2]] + values[self.lanes & ~1:]
        valid, values = _stage(m, self.valid, values, 0)
        some = Signal(self.latency, reset_less=True)
        m.d.sync += some.eq(Cat(self.counts.any(), some))
        for stage in range(1, self.latency):
            valid, values = _stage(m, valid, _level(lambda a, b: Mux(a > b, a, b), values), stage)
        m.d.comb += [self.some.eq(some[-1]), *(self.left[i].eq(value) for i, value in enumerate(values))]
        return m
