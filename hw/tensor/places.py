"""Indices of sparse weights: which activation of its block each weight of a step belongs to."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WeightPlaces"]


class WeightPlaces(wiring.Component):
    """Keeps a line of indices and hands out those of the two rows of each step, as `SparsePair` counts places.

    Indices are 2 bits; those of the rows in slots 2s and 2s + 1 of the values are in quarter slots 2s and 2s + 1, so that one line
    serves ``sparse_index_steps`` steps. Where both elements of a pair choose among the same activations, places count from the
    element's own: the second one's have their low bit inverted.

    Parameters
    ----------
    config : Config

    Members
    -------
    line : In(8 * line_bytes)
    take : In(1)
        Keeps ``line`` from the next cycle on.
    step : In
        Number of the step within its tile.
    row, lower : Out(ArrayLayout(2, cols))
        Places of the weights for the upper and the lower half of the array.
    """

    def __init__(self, config):
        self.config = config
        places = data.ArrayLayout(2, config.cols)
        super().__init__({
            "line": In(8 * config.line_bytes), "take": In(1), "step": In(range(config.weight_steps)),
            "row": Out(places), "lower": Out(places),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        kept = Signal(8 * config.line_bytes, reset_less=True)
        with m.If(self.take):
            m.d.sync += kept.eq(self.line)
        row_bits = 2 * config.weight_slot_bytes
        pair = Signal(2 * row_bits)
        m.d.comb += pair.eq(kept.word_select(self.step[:(config.sparse_index_steps - 1).bit_length()], 2 * row_bits))
        # Each half's last row comes first.
        for name, target, last_row in (("row", self.row, config.weight_steps - 1), ("lower", self.lower, config.rows - 1)):
            second = Signal(name=f"{name}_is_second")
            if config.activation_lanes == 4:
                m.d.comb += second.eq(self.step[0] ^ (last_row % 2))
            stored = pair[:row_bits] if name == "row" else pair[row_bits:]
            m.d.comb += [target[c].eq(stored[2 * c:2 * c + 2] ^ second) for c in range(config.cols)]
        return m
