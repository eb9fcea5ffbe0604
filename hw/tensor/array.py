"""The weight-stationary systolic array with its skews."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from ..memory.accumulators import sum_bits
from .pe import ProcessingElement
from .skew import Delay, Skew
from .sparse_pe import SparsePair, activation_layout, weight_layout

__all__ = ["SystolicArray", "WeightLoad"]


class WeightLoad(Signature):
    """One step of loading a tile into the shadow weights, seen from the loader.

    valid
        A step in this cycle; steps of a tile may have any gaps.
    left
        0: the step is a row from the top, last row first; 1: a column from the left, last column first.
    halves
        From the top, two rows: ``row`` for the upper half of the array (``ceil(rows / 2)`` rows), ``lower`` for the lower one,
        each half's last row first; of an odd number of rows the last step is an upper one alone.
    step
        Number of the step, 0 to ``rows - 1``, ``cols - 1`` or, with ``halves``, ``ceil(rows / 2) - 1``.
    row, lower
        Weights of the row, for its ``cols`` columns.
    column
        Weights of the column, for its ``rows`` rows.
    row_places, lower_places
        If `sparse`: the places of the weights of ``row`` and ``lower`` (`weight_layout`).
    """

    def __init__(self, rows, cols, sparse=False):
        places = {name: Out(data.ArrayLayout(2, cols)) for name in ("row_places", "lower_places")} if sparse else {}
        super().__init__({
            "valid": Out(1), "left": Out(1), "halves": Out(1), "step": Out(range(max(rows, cols))),
            "row": Out(data.ArrayLayout(signed(8), cols)), "lower": Out(data.ArrayLayout(signed(8), cols)),
            "column": Out(data.ArrayLayout(signed(8), rows)), **places,
        })


class SystolicArray(wiring.Component):
    """``sums[c] = sum over r of operands[r] * tile[r, c]``, a vector of operands a cycle.

    Skewing is inside: an operand vector goes in at once and its sums come out at once, ``latency`` cycles later.

    A tile is loaded into shadow weights while the one before computes, and ``swap`` makes it the tile of the operands
    from the next cycle on. Step 0 of a load may come in the cycle of the last load's ``swap``, and its last step must
    come before its own, so tiles can follow each other every ``rows`` (from the top), ``ceil(rows / 2)`` (by halves) or
    ``cols`` (from the left) cycles, with any number of operand vectors. That works because a load disturbs nothing early:
    row r only shifts from step r on (column c from the left), one cycle later per column (row), just behind the swap,
    which moves through the array with the skew of the operands. The swap reaches the lower half ``ceil(rows / 2)`` cycles
    after the upper one, so the lower half's rows wait so long.

    With `lanes`, each two rows are `SparsePair`: ``sums[c] = sum over r of operands[r // 2][lane of tile[r, c]] * tile[r, c]``.
    They share a place in the skew, so that all that is said of cycles between rows above holds for pairs of rows.

    Parameters
    ----------
    rows, cols : int
        Height and width.
    lanes : int
        Activations that come to a pair of rows, 4 or 8; 0: one to each row.

    Attributes
    ----------
    latency : int
        Cycles from ``operands`` to ``sums``.

    Members
    -------
    load : In(WeightLoad(rows, cols, lanes > 0))
    swap : In(1)
    operands : In(ArrayLayout(signed(9), rows)), or In(ArrayLayout(ArrayLayout(activation_layout(), lanes), rows / 2))
    sums : Out(ArrayLayout(signed(17 + ceil(log2(rows))), cols))
    """

    def __init__(self, rows, cols, lanes=0):
        self.rows = rows
        self.cols = cols
        self.lanes = lanes
        #: Rows that share a place in the skew, and the number of places.
        self.pitch = 2 if lanes else 1
        self.places = rows // self.pitch
        self.latency = self.places + cols + 1
        operand = data.ArrayLayout(activation_layout(), lanes) if lanes else signed(9)
        super().__init__({
            "load": In(WeightLoad(rows, cols, lanes > 0)), "swap": In(1),
            "operands": In(data.ArrayLayout(operand, self.places)),
            "sums": Out(data.ArrayLayout(signed(sum_bits(rows)), cols)),
        })

    def elaborate(self, platform):
        m = Module()
        rows, cols, load, pitch = self.rows, self.cols, self.load, self.pitch

        row, lower, weight = load.row, load.lower, signed(8)
        if self.lanes:
            row, lower, weight = self._with_places(m), self._with_places(m, "lower"), weight_layout()
        m.submodules.operand_skew = operand_skew = Skew(self.operands.shape().elem_shape, self.places)
        half = -(-rows // 2)
        m.submodules.row_skew = row_skew = Skew(weight, cols, gated=True)
        m.submodules.lower_delay = lower_delay = Delay(lower.shape(), half // pitch)
        m.submodules.lower_skew = lower_skew = Skew(weight, cols, gated=True)
        m.submodules.column_skew = column_skew = Skew(signed(8), rows, gated=True, pitch=pitch)
        m.submodules.sum_skew = sum_skew = Skew(signed(sum_bits(rows)), cols, falling=True)
        for skew, value, name, counts in (
                (operand_skew, self.operands, "operand_entry", 1),
                (row_skew, row, "row_entry", load.valid & ~load.left),
                (column_skew, load.column, "column_entry", load.valid & load.left)):
            entry = Signal.like(value, name=name, reset_less=True)
            with m.If(counts):
                m.d.sync += entry.eq(value)
            m.d.comb += skew.i.eq(entry)

        # The lower half's rows, late, with the rows that shift (bit r: row ``half + r``).
        lower_rows = rows - half
        lower_enters = load.valid & load.halves & (load.step < lower_rows)
        lower_shifts = Signal(lower_rows)
        late = [Signal(lower_rows, name=f"lower_shifts_{n}") for n in range(half // pitch)]
        m.d.comb += [
            lower_delay.i_valid.eq(lower_enters), lower_delay.i.eq(lower),
            lower_shifts.eq(Cat(lower_enters & (load.step >= r) for r in range(lower_rows))),
        ]
        m.d.sync += [after.eq(before) for before, after in zip([lower_shifts, *late], late)]
        lower_entry = Signal.like(lower, reset_less=True)
        with m.If(lower_delay.o_valid):
            m.d.sync += lower_entry.eq(lower_delay.o)
        m.d.comb += lower_skew.i.eq(lower_entry)
        from_lower = Signal(cols)       # the lower half takes what comes to it, not what is above
        m.d.sync += from_lower.eq(Cat(late[-1][0], from_lower))

        # Bit r of shift_down[c], bit c of shift_right[r // pitch] and of swap[r // pitch] belong to the element (r, c).
        shift_down = [Signal(rows, name=f"shift_down_{c}") for c in range(cols)]
        shift_right = [Signal(cols, name=f"shift_right_{place}") for place in range(self.places)]
        swap = [Signal(cols, name=f"swap_{place}") for place in range(self.places)]
        m.d.sync += [
            shift_down[0].eq(Cat(load.valid & ~load.left & (load.step >= r) & (~load.halves | (r < half))
                                 for r in range(rows)) | (late[-1] << half)),
            shift_right[0].eq(Cat(load.valid & load.left & (load.step >= c) for c in range(cols))),
            swap[0].eq(Cat(self.swap, swap[0])),
        ]
        m.d.sync += [shift_down[c].eq(shift_down[c - 1]) for c in range(1, cols)]
        m.d.sync += [shift_right[place].eq(shift_right[place - 1]) for place in range(1, self.places)]
        m.d.sync += [swap[place].eq(Cat(swap[place - 1][0], swap[place])) for place in range(1, self.places)]
        # In most cycles no weight of a row moves.
        moving = Signal(rows)
        m.d.comb += moving.eq(reduce(or_, shift_down) | Cat((shift_right[r // pitch] | swap[r // pitch]).any()
                                                           for r in range(rows)))
        # Row 0 (column 0) shifts in every step, so its bits say where weights are on their way.
        m.d.comb += [row_skew.moves.eq(Cat(bits[0] for bits in shift_down)),
                     lower_skew.moves.eq(from_lower),
                     column_skew.moves.eq(Cat(bits[0] for bits in shift_right))]

        operand = [operand_skew.o[place] for place in range(self.places)]
        above = [(row_skew.o[c], 0) for c in range(cols)]       # shadow weight and sum, for the next row
        if self.lanes:
            above = self._pairs(m, half, operand, above, column_skew.o, from_lower, lower_skew.o,
                                moving, shift_down, shift_right, swap)
        else:
            for r in range(rows):
                left = column_skew.o[r]
                if r == half:
                    above = [(Mux(from_lower[c], lower_skew.o[c], weight), total) for c, (weight, total) in enumerate(above)]
                for c in range(cols):
                    element = ProcessingElement(sum_bits(rows))
                    m.submodules[f"pe_{r}_{c}"] = element
                    weight_above, sum_above = above[c]
                    m.d.comb += [
                        element.operand.eq(operand[r]),
                        element.sum_in.eq(sum_above),
                        element.weight_above.eq(weight_above),
                        element.weight_left.eq(left),
                        element.moving.eq(moving[r]),
                        element.shift_down.eq(shift_down[c][r]),
                        element.shift_right.eq(shift_right[r][c]),
                        element.swap.eq(swap[r][c]),
                    ]
                    operand[r], left, above[c] = element.operand_out, element.shadow, (element.shadow, element.sum_out)
        m.d.comb += [sum_skew.i[c].eq(above[c][1]) for c in range(cols)]
        m.d.comb += self.sums.eq(sum_skew.o)
        return m

    def _with_places(self, m, name="row"):
        """The weights of ``row`` or ``lower`` with their places."""
        values, places = getattr(self.load, name), getattr(self.load, f"{name}_places")
        weights = Signal(data.ArrayLayout(weight_layout(), self.cols), name=f"{name}_weights")
        for c in range(self.cols):
            m.d.comb += [weights[c].value.eq(values[c]), weights[c].place.eq(places[c])]
        return weights

    def _pairs(self, m, half, operand, above, column, from_lower, lower, moving, shift_down, shift_right, swap):
        """The elements, by pairs of rows; the last ones' shadow weights and sums for each column."""
        for place in range(self.places):
            first = 2 * place
            # Weights from the left belong to the place of the row.
            left = [Cat(column[first + n], Const(0, 2)) for n in range(2)]
            for c in range(self.cols):
                pair = SparsePair(sum_bits(self.rows), self.lanes)
                m.submodules[f"pair_{place}_{c}"] = pair
                for n, source in enumerate((above[c][0], pair.shadow[0])):
                    if first + n == half:
                        source = Mux(from_lower[c], Value.cast(lower[c]), Value.cast(source))
                    m.d.comb += [pair.weight_above[n].as_value().eq(source), pair.weight_left[n].as_value().eq(left[n])]
                m.d.comb += [
                    pair.operand.eq(operand[place]), pair.sum_in.eq(above[c][1]),
                    pair.moving.eq(moving[first:first + 2]), pair.shift_down.eq(shift_down[c][first:first + 2]),
                    pair.shift_right.eq(shift_right[place][c].replicate(2)), pair.swap.eq(swap[place][c]),
                ]
                operand[place], left, above[c] = pair.operand_out, pair.shadow, (pair.shadow[1], pair.sum_out)
        return above
