"""Circulant weights: what stands between the scratchpad's words and the array's shadow weights."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .. import isa

__all__ = ["CirculantColumns", "circulant_members", "circulant_rows", "for_block"]

_FIELDS = isa.INSTRUCTIONS["MATMUL_C"].fields


def circulant_members(config):
    """Members of a tile's layouts that say how a MATMUL_C makes it; none without circulant weights.

    block
        Size b of the blocks, one of ``config.circulant``: one bit is 1. 0: no circulant weights.
    single
        One word, for the columns of block ``column``; the others are zero.
    less_128
        Bytes are unsigned and count less 128.
    """
    if not config.circulant:
        return {}
    return {"block": _FIELDS["block"].width, "single": 1, "column": _FIELDS["w_column"].width, "less_128": 1}


def for_block(config, block, value_of):
    """``value_of(b)`` for the size b in signal ``block``."""
    *others, last = config.circulant
    value = value_of(last)
    for size in others:
        value = Mux(block[size.bit_length() - 1], value_of(size), value)
    return value


def circulant_rows(config, tile):
    """Rows of the stationary operand that a tile of a MATMUL_C takes; ``tile`` has `circulant_members`."""
    return Mux(tile.single, 1, for_block(config, tile.block, lambda block: config.cols // block))


class CirculantColumns(wiring.Component):
    """``column[k*b + j] = word[k*b + (i - j) % b]``: column i of the circulant blocks whose first rows, read downwards from
    the diagonal, are in ``word``; column after column, the last one first. Combinational.

    Parameters
    ----------
    config : Config

    Members
    -------
    word : In(ArrayLayout(unsigned(8), rows))
        The K tile's bytes.
    step : In(range(max(rows, cols)))
        Step of the load: the tile's column is ``cols - 1 - step``, and i that modulo b.
    block, single, column, less_128 : In
        As in `circulant_members`.
    result : Out(ArrayLayout(unsigned(8), rows))
    """

    def __init__(self, config):
        self.config = config
        column = data.ArrayLayout(unsigned(8), config.rows)
        super().__init__({
            "word": In(column), "step": In(range(max(config.rows, config.cols))), "result": Out(column),
            **{name: In(width) for name, width in circulant_members(config).items()},
        })

    def elaborate(self, platform):
        m = Module()
        config, sizes = self.config, self.config.circulant

        def place(name, value_of):
            """Bytes from other places: that of ``p`` is from ``value_of(p, b)``."""
            taken = Signal.like(self.word, name=name)
            return taken, [taken[p].eq(for_block(config, self.block, lambda b, p=p: value_of(p, b))) for p in range(config.rows)]

        # Backwards, and as far on as columns have been before in this block.
        turned, wires = place("backwards", lambda p, b: self.word[p // b * b + b - 1 - p % b])
        m.d.comb += wires
        for bit in range((sizes[-1] - 1).bit_length()):
            distance = 1 << bit
            before = turned
            turned, wires = place(f"turned_{bit}", lambda p, b: Mux(
                self.step[bit], before[p // b * b + (p % b + distance) % b], before[p]) if distance < b else before[p])
            m.d.comb += wires

        number = Signal(range(config.cols))
        counts = Signal()
        m.d.comb += [
            number.eq(config.cols - 1 - self.step),
            counts.eq(~self.single | (for_block(config, self.block, lambda b: number >> (b.bit_length() - 1)) == self.column)),
        ]
        for p in range(config.rows):
            byte = turned[p] ^ Cat(Const(0, 7), self.less_128)
            m.d.comb += self.result[p].eq(Mux(counts, byte, 0))
        return m
