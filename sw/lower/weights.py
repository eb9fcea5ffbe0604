"""Streamed weights of linear layers: their format in memory, and pieces of them, by panels of inputs and outputs."""

from dataclasses import dataclass
from math import lcm

import numpy as np

from weft.weights import CirculantWeights, GroupedWeights, SparseWeights

from .builder import Run
from .circulant import circulant_weights
from .layout import ceil_div, pack_four_bit, pack_scales, pack_weights, round_up
from .sparse import SparseTiles
from .streamed import StreamedWeights

__all__ = ["FourBitWeights", "Int8Weights", "Piece", "four_bit_fits", "four_bit_refusal", "streamed_weights"]

#: K tiles that can share a row of scales (``w_group``).
_LARGEST_GROUP = 63


def _groups_of_halves(config, group, inputs):
    """``(least, largest)`` of the groups that the inputs of each half of each K tile belong to, int64[k_tiles, 2] each.

    A half without inputs has a largest one of -1.
    """
    padded = np.full((inputs.panels, config.k_tiles_per_panel * config.rows), -1)
    padded[:, :config.panel] = np.where(inputs.map >= 0, inputs.map // group, -1).reshape(inputs.panels, -1)
    tiles = padded.reshape(-1, config.rows)
    halves = tiles[:, :config.weight_steps], tiles[:, config.weight_steps:]
    none = np.iinfo(np.int64).max
    return (np.stack([np.where(half < 0, none, half).min(1) for half in halves], axis=1),
            np.stack([half.max(1) for half in halves], axis=1))


def _agree(first, last):
    """Whether inputs among whose groups ``first`` is the least one and ``last`` the largest are all of one group."""
    return (first == last) | (last < 0)


def four_bit_fits(config, group, inputs):
    """Whether 4-bit weights with one scale for ``group`` inputs can be streamed: no half of a tile has inputs of two groups."""
    return bool(_agree(*_groups_of_halves(config, group, inputs)).all())


def four_bit_refusal(config, form, inputs):
    """Why 4-bit weights (`weft.weights.GroupedWeights`) cannot stay compressed, a sentence with the values, or None."""
    if not config.four_bit:
        return "the configuration is without four_bit"
    if not four_bit_fits(config, form.group, inputs):
        return f"half of a tile of {config.rows} rows has inputs of two groups of {form.group}"
    return None


def streamed_weights(config, op, rows, dtype):
    """How the weights of a `weft.qgraph.Linear` of a prepared graph are streamed, for an operand of ``rows`` rows of type
    ``dtype``: a class, made of ``(config, op, inputs, outputs)``, the last two being `weft.lower.layout.Channels` of K and N.
    """
    if isinstance(op.compressed, CirculantWeights):
        return circulant_weights(config, op, rows, dtype)
    return {type(None): Int8Weights, GroupedWeights: FourBitWeights, SparseWeights: SparseTiles}[type(op.compressed)]


@dataclass(frozen=True)
class Piece:
    """A piece of weights in the scratchpad: N panels from ``n0`` on. ``base``: first word of the tiles, ``panel_words`` for
    each N panel; ``scales``, ``scale_words``: the same of the rows of scales; ``group``: ``w_group``, None of int8 weights."""
    n0: int
    base: int
    panel_words: int
    scales: int = 0
    scale_words: int = 0
    group: int | None = None

    def run(self, n0, n1):
        """`Run` of the N panels ``n0..n1``."""
        base, scales = self.base + (n0 - self.n0) * self.panel_words, self.scales + (n0 - self.n0) * self.scale_words
        words = [(base, (n1 - n0) * self.panel_words)]
        if self.group is not None:
            words.append((scales, (n1 - n0) * self.scale_words))
        return Run.of(base, words, self.group, scales)

    def multiply(self, builder, operand, row, rows, k0, k_tiles, n0, n1, sums, accumulate, unsigned, stride):
        """Emits the product of rows of view ``operand``, panels from ``k0`` on, and N panels ``n0..n1``, to accumulator word
        ``sums``; its N tiles are ``stride`` words apart."""
        builder.matmul(operand, row, rows, k0, k_tiles, (n1 - n0) * builder.config.tiles_per_panel, sums, self.run(n0, n1),
                       accumulate=accumulate, unsigned=unsigned, stride=stride)


class Int8Weights(StreamedWeights):
    """Weights of 8 bits. ``tile_words``: words of a tile."""

    def __init__(self, config, op, inputs, outputs):
        super().__init__(config, op, inputs, outputs)
        self.tile_words = config.weight_tile_words
        self.panel_words = self.tiles(1, 1) * self.tile_words

    def tiles(self, n_panels, k_panels):
        """Tiles of so many panels."""
        return n_panels * self.config.tiles_per_panel * k_panels * self.config.k_tiles_per_panel

    def pack(self):
        """All tiles, uint8[n_tiles, k_tiles, bytes]."""
        return pack_weights(self.config, self.op.weight, self.inputs, self.outputs)

    def cycles(self, rows):
        """Cycles of the array for a tile and so many rows."""
        return max(rows, self.config.weight_steps)

    def pace(self, rows):
        """The same, or of the bus for a tile."""
        return max(rows, self.config.rows)

    def runs(self, n0, n1, k0, k1):
        """``(first, words, count, pitch)`` of the runs of words of a piece within all tiles."""
        n, k = self.config.tiles_per_panel, self.config.k_tiles_per_panel * self.tile_words
        pitch = self.inputs.panels * k
        return n0 * n * pitch + k0 * k, (k1 - k0) * k, (n1 - n0) * n, pitch

    def piece(self, n0, n1, k0, k1, base):
        """The piece whose words begin at scratchpad word ``base``, rows of scales first."""
        scale_words = self.scale_words(k0, k1)
        words = self.config.tiles_per_panel * self.runs(n0, n1, k0, k1)[1]
        tiles = base + round_up((n1 - n0) * scale_words, self.config.dma_words)
        return Piece(n0, tiles, words, base, scale_words, self.group(k0, k1))

    @property
    def bytes(self):
        """Bytes of the weights as they are stored, padding left out."""
        return self.op.weight.size if self.op.compressed is None else self.op.compressed.bytes

    def data(self, n0, n1, k0, k1):
        """Tiles of panels as they lie in memory, uint8[bytes]."""
        n, k = self.config.tiles_per_panel, self.config.k_tiles_per_panel
        return np.ascontiguousarray(self.packed[n0 * n:n1 * n, k0 * k:k1 * k]).reshape(-1)

    def group(self, k0, k1):
        """``w_group`` of a piece of K panels ``k0..k1``; None: no scales."""
        return None


class FourBitWeights(Int8Weights):
    """4-bit weights with a scale for each group of inputs (`weft.weights.GroupedWeights`).

    Rows of scales count from the beginning of a piece, so any run of panels can be one. The groups must fit (`four_bit_fits`).
    """

    def __init__(self, config, op, inputs, outputs):
        super().__init__(config, op, inputs, outputs)
        self.tile_words = config.four_bit_tile_words
        self._first, self._last = _groups_of_halves(config, op.compressed.group, inputs)
        self._group_of, self._scale_rows = {}, {}
        self.panel_words = self.tiles(1, 1) * self.tile_words + max(self.scale_words(k, k + 1) for k in range(inputs.panels))
        k = config.k_tiles_per_panel
        self.period = lcm(max(1, self.group(0, inputs.panels)), k) // k

    def _runs(self, first_tile, stop, group):
        """``(least, largest)`` layer's group of each row of scales of K tiles, with so many of them in a row."""
        first, last = self._first[first_tile:stop], self._last[first_tile:stop]
        if not group:
            return first.reshape(-1), last.reshape(-1)
        starts = np.arange(0, len(first), group)
        return np.minimum.reduceat(first.min(1), starts), np.maximum.reduceat(last.max(1), starts)

    def tile_group(self, first, stop):
        """``w_group`` of K tiles ``first..stop``."""
        if (first, stop) not in self._group_of:
            # The most K tiles in a row that always share their scales; halves of tiles if there are none.
            candidates = range(min(stop - first, _LARGEST_GROUP), -1, -1)
            self._group_of[first, stop] = next(group for group in candidates if _agree(*self._runs(first, stop, group)).all())
        return self._group_of[first, stop]

    def tile_scale_words(self, first, stop):
        """Words of the rows of scales of K tiles ``first..stop`` of one N tile."""
        rows = len(self._runs(first, stop, self.tile_group(first, stop))[0])
        return ceil_div(rows, self.config.scale_rows_per_word)

    def tile_scale_rows(self, first, stop):
        """Rows of scales of K tiles ``first..stop`` for each N tile, uint8[n_tiles, bytes]."""
        if (first, stop) not in self._scale_rows:
            _, last = self._runs(first, stop, self.tile_group(first, stop))
            rows = np.where(last < 0, 0, self.op.compressed.scales[:, np.maximum(last, 0)])
            self._scale_rows[first, stop] = pack_scales(self.config, rows, self.outputs)
        return self._scale_rows[first, stop]

    def _tiles_of(self, k0, k1):
        k = self.config.k_tiles_per_panel
        return k0 * k, k1 * k

    def group(self, k0, k1):
        return self.tile_group(*self._tiles_of(k0, k1))

    def scale_words(self, k0, k1):
        return self.config.tiles_per_panel * self.tile_scale_words(*self._tiles_of(k0, k1))

    def pack(self):
        return pack_four_bit(self.config, self.op.compressed.values, self.inputs, self.outputs)

    def scales(self, n0, n1, k0, k1):
        """Rows of scales of a piece as they lie in memory, uint8[bytes]."""
        per = self.config.tiles_per_panel
        return self.tile_scale_rows(*self._tiles_of(k0, k1))[n0 * per:n1 * per].reshape(-1)
