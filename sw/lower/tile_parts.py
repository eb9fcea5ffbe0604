"""Rectangles of a layer's weight tiles: how those of each format lie in memory, what they cost, and their products.

A layer without its tiles of zeros (`weft.lower.zero_tiles`) is made of such parts. K tiles are those of the format: a tile of
sparse weights covers several K panels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weft.hw.isa import SPARSE_PANELS

from .builder import Run
from .circulant import TurnedRows, TurnedWeights
from .layout import ceil_div, tile_grid
from .sparse import SparseTiles
from .weights import FourBitWeights, Int8Weights

__all__ = ["Part", "parts_of"]


@dataclass(frozen=True)
class Part:
    """K tiles ``k0..k1`` of N tiles ``n0..n1``."""
    n0: int
    n1: int
    k0: int
    k1: int

    @property
    def n_tiles(self):
        return self.n1 - self.n0

    @property
    def k_tiles(self):
        return self.k1 - self.k0

    @property
    def tiles(self):
        return self.n_tiles * self.k_tiles

    def within(self, other):
        """What it has in common with another part, or None."""
        n0, n1, k0, k1 = max(self.n0, other.n0), min(self.n1, other.n1), max(self.k0, other.k0), min(self.k1, other.k1)
        return Part(n0, n1, k0, k1) if n0 < n1 and k0 < k1 else None


class _Tiles:
    """Of int8 weights: tiles lie one after the other, those of an N tile side by side.

    Attributes
    ----------
    nonzero
        bool[n_tiles, k_tiles]: tiles that hold anything but zeros.
    present
        The same of tiles that hold a weight of the model, zero or not.
    """

    def __init__(self, weights):
        self.weights, self.config = weights, weights.config

    def _grid(self, values):
        return tile_grid(self.config, values, self.weights.inputs, self.weights.outputs)

    @cached_property
    def nonzero(self):
        return self._grid(self.weights.op.weight)

    @cached_property
    def present(self):
        return self._grid(np.ones_like(self.weights.op.weight))

    def k_range(self, k0, k1):
        """``(first, stop)`` of the K tiles of K panels ``k0..k1``."""
        per = self.config.k_tiles_per_panel
        return k0 * per, k1 * per

    def weights_of(self, part):
        """Weights of the model in a part, zeros included."""
        c, inputs, outputs = self.config, self.weights.inputs, self.weights.outputs
        return (np.count_nonzero(outputs.map[part.n0 * c.cols:part.n1 * c.cols] >= 0)
                * np.count_nonzero(inputs.map[self._channel(part.k0):self._channel(part.k1)] >= 0))

    def _channel(self, k_tile):
        panels, tiles = divmod(k_tile, self.config.k_tiles_per_panel)
        return panels * self.config.panel + tiles * self.config.rows

    def cycles(self, rows, part):
        """Cycles of the array for a part and so many rows, or of the bus, roughly."""
        return max(part.tiles * max(rows, self._steps), self._beats(part))

    @property
    def _steps(self):
        """Cycles in which a tile loads."""
        return self.config.weight_steps

    def _beats(self, part):
        """Cycles of the bus."""
        return ceil_div(self.words(part) * self.config.word_bytes, self.config.data_bytes)

    def words(self, part):
        """Scratchpad words of a part, rows of scales left out."""
        return part.tiles * self.weights.tile_words

    def scale_words(self, part):
        """Words of a part's rows of scales."""
        return 0

    def stored(self, kept):
        """K tiles of an N tile that are stored where those of ``kept``, bool[k_tiles], are multiplied."""
        return kept

    def offset(self, product, part):
        """Words between the beginning of a part and that of a product of it, which has all of its N tiles."""
        return 0

    def data(self, part):
        """A part as it lies in memory, uint8[bytes]."""
        return self.weights.packed[part.n0:part.n1, part.k0:part.k1].reshape(-1)

    def run(self, part, block):
        """``(first, words, count, pitch)`` of the runs of words of a part of a larger one, which lies in one piece."""
        size = self.weights.tile_words
        first = (part.n0 - block.n0) * block.k_tiles + part.k0 - block.k0
        if part.k_tiles == block.k_tiles:
            return first * size, part.tiles * size, 1, 0
        return first * size, part.k_tiles * size, part.n_tiles, block.k_tiles * size

    def multiply(self, builder, part, base, scales, operand, row, rows, sums, accumulate, unsigned, stride):
        """Emits the product of rows of view ``operand`` and a part from scratchpad word ``base`` on, its scales from word
        ``scales``; its first N tile's sums begin with accumulator word ``sums``."""
        panel, offset = divmod(part.k0, self.config.k_tiles_per_panel)
        builder.matmul(operand, row, rows, panel, part.k_tiles, part.n_tiles, sums, self._stream(part, base, scales),
                       accumulate=accumulate, unsigned=unsigned, stride=stride, k_offset=offset)

    def _stream(self, part, base, scales):
        return Run.of(base, [(base, self.words(part))])


class _FourBitTiles(_Tiles):
    """Of 4-bit weights: every part has its own rows of scales."""

    def scale_words(self, part):
        return part.n_tiles * self.weights.tile_scale_words(part.k0, part.k1)

    def scales(self, part):
        """Rows of scales of a part, uint8[bytes]."""
        return self.weights.tile_scale_rows(part.k0, part.k1)[part.n0:part.n1].reshape(-1)

    def _stream(self, part, base, scales):
        return Run.of(base, [(base, self.words(part)), (scales, self.scale_words(part))],
                      self.weights.tile_group(part.k0, part.k1), scales)


class _SparseTiles(_Tiles):
    """Of sparse weights."""

    def _grid(self, values):
        grid, covered = super()._grid(values), SPARSE_PANELS[self.weights.format]
        padded = np.pad(grid, ((0, 0), (0, -grid.shape[1] % covered)))
        return padded.reshape(len(grid), -1, covered).any(2)

    @property
    def _steps(self):
        return self.config.load_steps(self.weights.format)

    def k_range(self, k0, k1):
        return ceil_div(k0, self.weights.granule), ceil_div(k1, self.weights.granule)

    def _channel(self, k_tile):
        return k_tile * self.weights.granule * self.config.panel

    def multiply(self, builder, part, base, scales, operand, row, rows, sums, accumulate, unsigned, stride):
        covered = self.weights.granule
        panels = min(part.k1 * covered, self.weights.inputs.panels) - part.k0 * covered
        fields = {"w_base": base, "w_format": self.weights.format, "k_missing": part.k_tiles * covered - panels}
        builder.matmul(operand, row, rows, part.k0 * covered, part.k_tiles, part.n_tiles, sums,
                       Run(fields, [(base, self.words(part))]), accumulate=accumulate, unsigned=unsigned, stride=stride,
                       a_panels=panels)


class _TurnedTiles(_Tiles):
    """Of circulant weights whose generators become tiles: a word of generators is a whole K panel."""

    def _panels(self, part):
        per = self.config.k_tiles_per_panel
        return part.k0 // per, ceil_div(part.k1, per)

    @property
    def _steps(self):
        return self.config.cols

    def words(self, part):
        first, stop = self._panels(part)
        return (stop - first) * part.n_tiles * self.weights.columns

    def stored(self, kept):
        per = self.config.k_tiles_per_panel
        return kept.reshape(-1, per).any(1).repeat(per)

    def offset(self, product, part):
        return (self._panels(product)[0] - self._panels(part)[0]) * part.n_tiles * self.weights.columns

    def data(self, part):
        columns = self.weights.columns
        return self.weights.packed[slice(*self._panels(part)), part.n0 * columns:part.n1 * columns].reshape(-1)

    def run(self, part, block):
        columns, (first, stop) = self.weights.columns, self._panels(part)
        pitch = block.n_tiles * columns
        start = (first - self._panels(block)[0]) * pitch + (part.n0 - block.n0) * columns
        return start, part.n_tiles * columns, stop - first, pitch

    def multiply(self, builder, part, base, scales, operand, row, rows, sums, accumulate, unsigned, stride):
        panel, offset = divmod(part.k0, self.config.k_tiles_per_panel)
        words = part.n_tiles * self.weights.columns
        builder.matmul_c(operand, row, rows, panel, part.k_tiles, part.n_tiles, sums, self.weights.view(base, words), 0, 0, words,
                         self.weights.block, accumulate=accumulate, unsigned=unsigned, stride=stride, k_offset=offset)


class _TurnedRowsTiles(_TurnedTiles):
    """Of circulant weights that stream over turned rows: a pass for each column of blocks, as long as a tile loads at least."""

    def cycles(self, rows, part):
        passes = rows * self.weights.columns * part.k_tiles
        return max(passes * max(part.n_tiles, self._steps), self._beats(part))

    def data(self, part):
        return self.weights.packed[slice(*self._panels(part)), :, part.n0:part.n1].reshape(-1)

    def run(self, part, block):
        columns, (first, stop) = self.weights.columns, self._panels(part)
        start = (first - self._panels(block)[0]) * columns * block.n_tiles + part.n0 - block.n0
        return start, part.n_tiles, (stop - first) * columns, block.n_tiles

    def multiply(self, builder, part, base, scales, operand, row, rows, sums, accumulate, unsigned, stride):
        """As of other parts, but that ``stride`` is between rows, and N tiles are neighbours."""
        panel, offset = divmod(part.k0, self.config.k_tiles_per_panel)
        columns = self.weights.columns
        for column in range(columns):
            view = self.weights.view(base + column * part.n_tiles, columns * part.n_tiles)
            builder.matmul_c(view, 0, part.n_tiles, 0, part.k_tiles, rows, sums, operand, row, panel, rows, self.weights.block,
                             column=column, less_128=unsigned, accumulate=accumulate or column > 0, stride=stride,
                             k_offset=offset)


_PARTS = {Int8Weights: _Tiles, FourBitWeights: _FourBitTiles, SparseTiles: _SparseTiles, TurnedWeights: _TurnedTiles,
          TurnedRows: _TurnedRowsTiles}


def parts_of(weights):
    """How parts of streamed weights lie in memory and are multiplied."""
    return _PARTS[type(weights)](weights)
