"""Circulant weights in memory, and the two products with them.

A circulant block times a vector is the circulant of the vector times the block's generator, so either of the two can be the
stationary operand. `TurnedWeights` puts turned weights into the array, for many rows; `TurnedRows` puts the turned rows
there and streams generators, for few rows: a row and a column of blocks of a tile take one cycle. Both are MATMUL_C.
"""

from dataclasses import dataclass, replace

import numpy as np

from weft.hw.isa import Element

from .layout import ceil_div, pack_generators
from .streamed import StreamedWeights
from .tensors import View

__all__ = ["TurnedRows", "TurnedWeights", "circulant_refusal", "circulant_weights"]

#: Beats of a burst at least.
_LEAST_BEATS = 8


def circulant_refusal(config, form, inputs, outputs):
    """Why circulant weights (`weft.weights.CirculantWeights`) cannot stay compressed, a sentence with the values, or None."""
    if not config.circulant:
        return "the configuration is without circulant"
    if form.block not in config.circulant:
        return f"the configuration's circulant has blocks of {', '.join(map(str, config.circulant))}, not of {form.block}"
    for channels in (inputs, outputs):
        groups = channels.map.reshape(-1, form.block)
        aligned = (groups[:, 0] % form.block == 0) & (groups == groups[:, :1] + np.arange(form.block)).all(1)
        if not (aligned | (groups < 0).all(1)).all():
            return f"circulant blocks of {form.block} reach across heads of {channels.block} features"
    return None


def circulant_weights(config, op, rows, dtype):
    """The class of the circulant weights of a layer of ``rows`` rows whose operand is of ``dtype``."""
    columns, tiles = config.cols // op.compressed.block, ceil_div(len(op.weight), config.cols)
    # A pass of generators over turned rows is as long as a tile loads, even if there are fewer N tiles.
    few = rows * columns * max(tiles, config.cols) < tiles * max(rows, config.cols)
    return TurnedRows if few and _offset_fits(op, dtype) else TurnedWeights


def _offset(op, dtype):
    """What the sums lack where bytes of a uint8 operand count less 128: int64[N]."""
    return 128 * op.weight.sum(1, dtype=np.int64) if dtype == "uint8" else np.zeros(len(op.weight), np.int64)


def _offset_fits(op, dtype):
    return bool((np.abs(op.rescale.bias + _offset(op, dtype)) < 1 << 31).all())


class TurnedWeights(StreamedWeights):
    """Circulant weights whose generators become the array's tiles.

    A generator row, the generators of a row of blocks, lies in K panels like a row of activations; the rows of a K panel
    follow each other.
    """

    def __init__(self, config, op, inputs, outputs):
        super().__init__(config, op, inputs, outputs)
        self.block = op.compressed.block
        #: Columns of blocks in a tile.
        self.columns = config.cols // self.block
        self.panel_words = config.panel // self.block
        #: Whether words that programs share have the order of `TurnedRows`, and are scattered as they are loaded.
        self.scatters = self.columns > 1 and config.dma_words == 1
        self.layout = "columns of blocks" if self.scatters else "rows of blocks"
        self.together = ceil_div(_LEAST_BEATS * config.data_bytes, config.tiles_per_panel * config.word_bytes)

    def cycles(self, rows):
        """Cycles of the array for a tile and so many rows."""
        return max(rows, self.config.cols)

    pace = cycles

    @property
    def bytes(self):
        """Bytes of the weights as they are stored, padding left out."""
        return self.op.compressed.bytes

    def pack(self):
        """All generator rows, uint8[k_panels, rows, word_bytes]."""
        return self.order(pack_generators(self.config, self.op.compressed.generators, self.inputs, self.outputs))

    def order(self, rows):
        return rows

    def apart(self, rows):
        """Generator rows of each column of blocks by themselves: uint8[k_panels, columns, tiles, word_bytes]."""
        panels, count, size = rows.shape
        return np.ascontiguousarray(rows.reshape(panels, count // self.columns, self.columns, size).transpose(0, 2, 1, 3))

    @property
    def shared(self):
        return self.apart(self.packed) if self.scatters else self.packed

    def load_shared(self, builder, memory, base, n0, n1, k0, k1):
        if not self.scatters:
            super().load_shared(builder, memory, base, n0, n1, k0, k1)
            return
        word = self.config.word_bytes
        tiles = (n1 - n0) * self.config.tiles_per_panel
        pitch = self.outputs.panels * self.config.tiles_per_panel
        for column in range(self.columns):
            first = (k0 * self.columns + column) * pitch + n0 * self.config.tiles_per_panel
            builder.load_apart(memory + first * word, base + column, tiles, self.columns, k1 - k0, self.columns * pitch * word,
                               self.columns * tiles)

    def runs(self, n0, n1, k0, k1):
        """``(first, words, count, pitch)`` of the runs of words of a piece within all words."""
        pitch = self.outputs.panels * self.panel_words
        return k0 * pitch + n0 * self.panel_words, (n1 - n0) * self.panel_words, k1 - k0, pitch

    def data(self, n0, n1, k0, k1):
        """Words of a piece as they lie in memory, uint8[bytes]."""
        first, words, count, pitch = self.runs(n0, n1, k0, k1)
        places = first + np.arange(count)[:, None] * pitch + np.arange(words)
        return self.packed.reshape(-1, self.config.word_bytes)[places].reshape(-1)

    def piece(self, n0, n1, k0, k1, base):
        """The piece whose words begin at scratchpad word ``base``."""
        return TurnedPiece(n0, self.view(base, (n1 - n0) * self.panel_words), self.block, self.panel_words)

    @staticmethod
    def view(base, panel_stride):
        """`View` of generator rows from scratchpad word ``base`` on."""
        return View(base, 1, panel_stride, Element.INT8, 0)


@dataclass(frozen=True)
class TurnedPiece:
    """A piece in the scratchpad: N panels from ``n0`` on, ``panel_rows`` generator rows each, in ``view``."""
    n0: int
    view: View
    block: int
    panel_rows: int

    def multiply(self, builder, operand, row, rows, k0, k_tiles, n0, n1, sums, accumulate, unsigned, stride):
        """As `weft.lower.weights.Piece`."""
        builder.matmul_c(operand, row, rows, k0, k_tiles, (n1 - n0) * builder.config.tiles_per_panel, sums, self.view,
                         (n0 - self.n0) * self.panel_rows, 0, (n1 - n0) * self.panel_rows, self.block, accumulate=accumulate,
                         unsigned=unsigned, stride=stride)


class TurnedRows(TurnedWeights):
    """Circulant weights that stream over the layer's turned rows; sums of a row lie side by side.

    Each column of blocks of the tiles has a pass of its own, so its generator rows lie apart, in each K panel.
    """

    by_rows = True

    def __init__(self, config, op, inputs, outputs):
        super().__init__(config, op, inputs, outputs)
        self.scatters = False
        self.layout = "columns of blocks" if self.columns > 1 else "rows of blocks"
        # A pass is as long as a tile loads.
        self.least_group = ceil_div(config.cols, config.tiles_per_panel)

    def cycles(self, rows):
        return rows * self.columns

    pace = cycles

    def rescale(self, dtype):
        rescale = self.op.rescale
        return replace(rescale, bias=(rescale.bias + _offset(self.op, dtype)).astype(np.int32))

    def order(self, rows):
        return self.apart(rows)

    def runs(self, n0, n1, k0, k1):
        tiles = self.config.tiles_per_panel
        pitch = self.outputs.panels * tiles
        return k0 * self.columns * pitch + n0 * tiles, (n1 - n0) * tiles, (k1 - k0) * self.columns, pitch

    def piece(self, n0, n1, k0, k1, base):
        tiles = (n1 - n0) * self.config.tiles_per_panel
        views = [self.view(base + column * tiles, self.columns * tiles) for column in range(self.columns)]
        return TurnedRowsPiece(n0, views, self.block)


@dataclass(frozen=True)
class TurnedRowsPiece:
    """A piece in the scratchpad: N panels from ``n0`` on; ``views``: generator rows of each column of blocks."""
    n0: int
    views: list
    block: int

    def multiply(self, builder, operand, row, rows, k0, k_tiles, n0, n1, sums, accumulate, unsigned, stride):
        """As `weft.lower.weights.Piece`, but that ``stride`` is between rows, and N tiles are neighbours."""
        tiles = builder.config.tiles_per_panel
        for column, view in enumerate(self.views):
            builder.matmul_c(view, (n0 - self.n0) * tiles, (n1 - n0) * tiles, 0, k_tiles, rows, sums, operand, row, k0, rows,
                             self.block, column=column, less_128=unsigned, accumulate=accumulate or column > 0, stride=stride)
