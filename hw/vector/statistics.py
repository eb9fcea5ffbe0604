"""Sums and sums of squares of rows."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .reduce import LaneSum

__all__ = ["RowSums", "SQUARES"]

#: Bits of a sum of 16384 squares of int16.
SQUARES = 45


class RowSums(wiring.Component):
    """``row_sum = sum(x)`` and ``row_squares = sum(x * x)`` of each row, exact, one group a cycle.

    Parameters: ``lanes``; ``sum_latency`` of the tree that adds the elements.

    Members
    -------
    total : In(signed)
        Sum of a group's elements, from the tree of sums, which got them one cycle before ``valid``.
    valid, first, last : In(1); squares : In(ArrayLayout(signed(32), lanes))
        A group's squares, the first or last of its row.
    finished : Out(1); row_sum, row_squares : Out
        A row is complete; the sums stay until the next is.
    busy : Out(1)
    """

    def __init__(self, lanes, sum_latency):
        self.lanes = lanes
        self.sum_latency = sum_latency
        super().__init__({
            "total": In(signed(17 + (lanes - 1).bit_length())),
            "valid": In(1), "first": In(1), "last": In(1), "squares": In(data.ArrayLayout(signed(32), lanes)),
            "finished": Out(1), "row_sum": Out(signed(30)), "row_squares": Out(SQUARES), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.tree = tree = LaneSum(self.lanes, 32)
        assert tree.latency == self.sum_latency
        m.d.comb += tree.valid.eq(self.valid)
        for lane in range(self.lanes):
            m.d.comb += tree.values[lane].eq(self.squares[lane])
        valid, first, last = self.valid, self.first, self.last
        busy = self.valid
        for stage in range(tree.latency):
            flags = [Signal(name=f"{name}_{stage}") for name in ("valid", "first", "last")]
            m.d.sync += [flag.eq(before) for flag, before in zip(flags, (valid, first, last))]
            valid, first, last = flags
            busy = busy | valid
        # The elements' tree got its values one cycle before the squares'.
        total = Signal.like(self.total, reset_less=True)
        m.d.sync += total.eq(self.total)

        sums = Signal(signed(30), reset_less=True)
        squares = Signal(SQUARES, reset_less=True)
        next_sums = Signal(signed(30))
        next_squares = Signal(SQUARES)
        m.d.comb += [
            next_sums.eq(Mux(first, 0, sums) + total),
            next_squares.eq(Mux(first, 0, squares) + tree.total.as_unsigned()),
        ]
        with m.If(valid):
            m.d.sync += [sums.eq(next_sums), squares.eq(next_squares)]
        with m.If(valid & last):
            m.d.sync += [self.row_sum.eq(next_sums), self.row_squares.eq(next_squares)]
        m.d.sync += self.finished.eq(valid & last)
        m.d.comb += self.busy.eq(busy | self.finished)
        return m
