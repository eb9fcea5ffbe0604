"""Arithmetic that rows need once: reciprocal square root and division, around one multiplier."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from .division import Division
from .multiplier import RowMultiplier
from .reciprocal_root import VARIANCE, ReciprocalRoot
from .state import SUM, DivisionState, NormState, StateWrite
from .statistics import SQUARES

__all__ = ["RowUnit"]


class RowUnit(wiring.Component):
    """Reciprocal square roots for NORM, one after the other, and reciprocals of softmax rows' sums, up to ``division_units``
    of them in nine cycles; results in order. Roots and divisions never mix: one kind starts only when ``idle``.

    Parameters
    ----------
    rows : int
        Rows of the state memories.
    division_units : int
        Dividers, from 1 to 9.

    Members
    -------
    load, first_row : In
        Results go to ``first_row`` and the rows after it.
    root, row_sum, row_squares, features, rms, eps : In
        ``root`` starts with the others, which stay until ``idle``.
    divide, row_total, mult, shift : In
        ``divide`` starts, only with ``ready``; sum l is taken in the cycle after it, multiplier M and shift s stay until
        ``idle``.
    norm_write, division_write : Out(StateWrite)
    ready : Out(1)
        A division may start.
    idle : Out(1)
    """

    def __init__(self, rows, division_units):
        self._division_units = division_units
        super().__init__({
            "load": In(1), "first_row": In(range(rows)),
            "root": In(1), "row_sum": In(signed(30)), "row_squares": In(SQUARES), "features": In(15), "rms": In(1),
            "eps": In(VARIANCE),
            "divide": In(1), "row_total": In(SUM), "mult": In(signed(18)), "shift": In(6),
            "norm_write": Out(StateWrite(rows, NormState)), "division_write": Out(StateWrite(rows, DivisionState)),
            "ready": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = RowMultiplier()
        m.submodules.reciprocal_root = root = ReciprocalRoot()
        m.submodules.division = division = Division(self._division_units)
        connect(m, root.multiplication, multiplier.first)
        connect(m, division.multiplication, multiplier.second)

        row = Signal.like(self.first_row)
        with m.If(self.load):
            m.d.sync += row.eq(self.first_row)
        with m.Elif(root.done | division.done):
            m.d.sync += row.eq(row + 1)
        m.d.comb += [
            root.start.eq(self.root), root.row_sum.eq(self.row_sum), root.row_squares.eq(self.row_squares),
            root.features.eq(self.features), root.rms.eq(self.rms), root.eps.eq(self.eps),
            division.divide.eq(self.divide), division.total.eq(self.row_total), division.mult.eq(self.mult),
            division.shift.eq(self.shift),
            self.norm_write.enable.eq(root.done), self.norm_write.row.eq(row), self.norm_write.value.eq(root.value),
            self.division_write.enable.eq(division.done), self.division_write.row.eq(row),
            self.division_write.value.eq(division.value),
            self.ready.eq(division.ready), self.idle.eq(root.idle & division.idle),
        ]
        return m
