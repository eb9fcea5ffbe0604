"""What all streamed weights of linear layers have in common, whatever their format in memory."""

import numpy as np

from .layout import round_up

__all__ = ["StreamedWeights"]


class StreamedWeights:
    """Weights of a layer as they lie in memory and are loaded, by pieces of N and K panels; a format is a class of this kind.

    Attributes, of which a format sets those that differ
    ----------
    panel_words
        Words that one N panel takes for one K panel, at most.
    period
        K panels of which pieces that begin at a multiple take the fewest words.
    granule
        K panels at whose multiples pieces must begin.
    least_group
        N panels that a product takes at least, if there are as many.
    together
        N panels that are loaded together where programs share the weights, so that bursts are long.
    by_rows
        Sums of a row lie side by side, not those of an N tile.
    fills_banks
        Rows that they are multiplied with are read in every cycle that their bank has.
    layout
        Names the order of the words in memory.
    zero_panels
        bool[N panels]: those without any weight, whose accumulators no product writes.
    constant_tiles
        bool[N tiles]: those without any weight in other panels, whose accumulators no product writes, either.

    A format defines ``cycles(rows)`` and ``pace(rows)``, ``bytes``, ``pack()``, and ``runs``, ``data`` and ``piece`` or ``load``.
    """

    period, granule, least_group, together, by_rows, fills_banks, layout = 1, 1, 1, 1, False, False, "tiles"

    def __init__(self, config, op, inputs, outputs):
        self.config, self.op, self.inputs, self.outputs = config, op, inputs, outputs
        #: By which what is stored is known: programs that share a memory may stream a layer in different ways.
        self.key = type(self), id(op)
        self.zero_panels = np.zeros(outputs.panels, bool)
        self.constant_tiles = np.zeros(outputs.panels * config.tiles_per_panel, bool)
        self._packed = None

    @property
    def packed(self):
        """All of them as `pack` makes them, uint8."""
        if self._packed is None:
            self._packed = self.pack()
        return self._packed

    @property
    def shared(self):
        """`packed` in the order that several programs share."""
        return self.packed

    @property
    def products(self):
        """Weights that each row is multiplied with, padding left out."""
        return self.op.weight.size

    def rescale(self, dtype):
        """`weft.qgraph.Rescale` of the sums, the operand being of ``dtype``."""
        return self.op.rescale

    def scale_words(self, k0, k1):
        """Words of the rows of scales of one N panel for a piece of K panels ``k0..k1``."""
        return 0

    def load(self, ctx, n0, n1, k0, k1):
        """Loads N panels ``n0..n1`` and K panels ``k0..k1``: a `weft.lower.weights.Piece`, or what multiplies like one."""
        c = self.config
        first, run, count, pitch = self.runs(n0, n1, k0, k1)
        scale_words = self.scale_words(k0, k1)
        scales, values = (n1 - n0) * scale_words, run * count
        base = ctx.weight_ring.take(round_up(scales, c.dma_words) + round_up(values, c.dma_words))
        tiles = base + round_up(scales, c.dma_words)
        piece, key = self.piece(n0, n1, k0, k1, base), (self.layout, id(self.op))
        if ctx.offsets is not None and not any(w % c.dma_words for w in (run, pitch, first, n0 * scale_words, scales)):
            # Programs that cut the layer differently read the same copy of it.
            if scales:
                whole = ctx.memory.constant(lambda: self.scales(0, self.outputs.panels, k0, k1), ("scales", *key, k0, k1))
                ctx.builder.load(whole + n0 * scale_words * c.word_bytes, base, scales, tracked=False)
            whole = ctx.memory.constant(lambda: self.shared.reshape(-1), ("weights", *key))
            self.load_shared(ctx.builder, whole, tiles, n0, n1, k0, k1)
            return piece

        def data():
            parts = [self.data(n0, n1, k0, k1)]
            if scales:
                first = self.scales(n0, n1, k0, k1)
                parts.insert(0, np.pad(first, (0, -first.size % c.dma_bytes)))
            return np.concatenate(parts)

        ctx.builder.load(ctx.memory.constant(data, ("weights", *key, n0, n1, k0, k1)), base,
                         tiles - base + round_up(values, c.dma_words), tracked=False)
        return piece

    def load_shared(self, builder, memory, base, n0, n1, k0, k1):
        """Loads a piece from `shared` at byte ``memory`` to scratchpad word ``base``."""
        first, words, count, pitch = self.runs(n0, n1, k0, k1)
        word = self.config.word_bytes
        builder.load(memory + first * word, base, words, count, pitch * word, words, tracked=False)
