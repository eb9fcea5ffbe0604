"""Trees over the lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LaneSum", "LaneMaximum", "tree_latency"]


def tree_latency(lanes):
    """Cycles that a tree over ``lanes`` values takes."""
    return max(1, ((lanes - 1).bit_length() + 1) // 2)


class _LaneTree(wiring.Component):
    """A binary tree with a register after every second level; ``latency`` cycles from ``values`` to ``total``."""

    def __init__(self, lanes, shape, total):
        self.lanes = lanes
        self.latency = tree_latency(lanes)
        super().__init__({"valid": In(1), "values": In(data.ArrayLayout(shape, lanes)), "total": Out(total)})

    def elaborate(self, platform):
        m = Module()
        values = [self.values[lane] for lane in range(self.lanes)]
        valid = self.valid
        for stage in range(self.latency):
            for _ in range(2):
                pairs = [self.combine(*values[i:i + 2]) for i in range(0, len(values) - 1, 2)]
                values = pairs + values[len(values) & ~1:]
            registers = [Signal.like(value, name=f"stage_{stage}_{i}", reset_less=True) for i, value in enumerate(values)]
            with m.If(valid):
                m.d.sync += [register.eq(value) for register, value in zip(registers, values)]
            if stage < self.latency - 1:
                after = Signal(name=f"valid_{stage}")
                m.d.sync += after.eq(valid)
                valid = after
            values = registers
        m.d.comb += self.total.eq(values[0])
        return m


class LaneSum(_LaneTree):
    """``total = sum(values)``, exact, one set of values a cycle.

    Parameters: ``lanes``; ``width`` of the signed values. Ports: ``valid``, ``values`` In(ArrayLayout(signed(width),
    lanes)), ``total`` Out(signed), ``latency`` cycles later.
    """

    def __init__(self, lanes, width):
        super().__init__(lanes, signed(width), signed(width + (lanes - 1).bit_length()))

    @staticmethod
    def combine(a, b):
        return a + b


class LaneMaximum(_LaneTree):
    """The greatest of the unsigned values whose upper bit says that they count, one set a cycle; without that bit a value,
    and ``total``, may be anything. Ports and parameters as `LaneSum`, unsigned."""

    def __init__(self, lanes, width):
        super().__init__(lanes, unsigned(width), unsigned(width))

    @staticmethod
    def combine(a, b):
        # Values are compared as they come, while what counts decides beside them.
        value = Mux(a[-1] & (~b[-1] | (a[:-1] > b[:-1])), a[:-1], b[:-1])
        return Cat(value, a[-1] | b[-1])
