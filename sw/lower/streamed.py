"""What all streamed weights of linear layers have in common, whatever their format in memory."""

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
    layout
        Names the order of the words in memory.

    A format defines ``cycles(rows)`` and ``pace(rows)``, ``bytes``, ``pack()``, ``runs``, ``data`` and ``piece``.
    """

    period, granule, least_group, together, by_rows, layout = 1, 1, 1, 1, False, "tiles"

    def __init__(self, config, op, inputs, outputs):
        self.config, self.op, self.inputs, self.outputs = config, op, inputs, outputs
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

    def load_shared(self, builder, memory, base, n0, n1, k0, k1):
        """Loads a piece from `shared` at byte ``memory`` to scratchpad word ``base``."""
        first, words, count, pitch = self.runs(n0, n1, k0, k1)
        word = self.config.word_bytes
        builder.load(memory + first * word, base, words, count, pitch * word, words, tracked=False)
