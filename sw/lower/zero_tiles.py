"""Weight tiles that hold zeros only: neither stored, nor loaded, nor multiplied.

A product takes any number of N tiles, but its K tiles are consecutive. So each N tile, or several with zeros in the same places,
gets a product for every run of K tiles that remain.
"""

import itertools
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from weft.hw.isa import INSTRUCTION_BYTES

from .layout import ceil_div, round_up
from .streamed import StreamedWeights
from .tile_parts import Part, parts_of

__all__ = ["KeptTiles", "without_zero_tiles"]

#: Cycles that another product costs beside the fetch of its instruction, roughly: no tile of zeros is left out for less.
_PRODUCT_CYCLES = 4
#: Attributes of a format that hold for a part of its tiles, too; not ``together``, as a `_Piece` is multiplied whole.
_SHARED = ("panel_words", "period", "granule", "least_group", "by_rows", "fills_banks", "cycles", "pace", "rescale")


def without_zero_tiles(weights, rows):
    """The `KeptTiles` of streamed weights that ``rows`` rows are multiplied with; the weights themselves where leaving tiles out
    would save nothing."""
    parts = parts_of(weights)
    # Tiles of padding alone are no reason.
    if not (parts.present & ~parts.nonzero).any():
        return weights
    c, nonzero = weights.config, parts.nonzero
    product = ceil_div(INSTRUCTION_BYTES, c.data_bytes) + _PRODUCT_CYCLES
    gap = product // parts.cycles(rows, Part(0, 1, 0, 1))
    # Exactly the tiles of zeros, or the inputs and outputs without any weight, which need few products.
    grids = nonzero, nonzero.any(1)[:, None] & nonzero.any(0)
    best = min((KeptTiles(parts, grid, gap) for grid in grids), key=lambda kept: kept.cost(rows, product))
    return best if best.cost(rows, product) < parts.cycles(rows, Part(0, nonzero.shape[0], 0, nonzero.shape[1])) else weights


@dataclass(frozen=True)
class _Block:
    """A part that is stored in one piece. ``first``: number of its first word among all that are stored; ``products``: parts of
    it that are multiplied, all of its N tiles each; ``accumulate``: earlier K tiles of these are multiplied as well."""
    part: Part
    first: int
    products: list
    accumulate: bool


def _changes(rows):
    """``(start, stop)`` of the longest ranges of equal rows."""
    different = np.flatnonzero((rows[1:] != rows[:-1]).any(1)) + 1
    return list(itertools.pairwise([0, *different.tolist(), len(rows)]))


def _runs(row):
    """``(start, stop)`` of the ranges where a bool array is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return edges.reshape(-1, 2).tolist()


class KeptTiles(StreamedWeights):
    """Streamed weights, of whatever format, without their tiles of zeros.

    ``parts``: of `weft.lower.tile_parts.parts_of`; ``grid`` bool[n_tiles, k_tiles]: tiles that are kept; ``gap``: so many K tiles
    of zeros between others are not worth another product.
    """

    def __init__(self, parts, grid, gap=0):
        weights = parts.weights
        super().__init__(weights.config, weights.op, weights.inputs, weights.outputs)
        self.weights, self.parts, self.key = weights, parts, (KeptTiles, *weights.key)
        for name in _SHARED:
            setattr(self, name, getattr(weights, name))
        kept = grid.copy()
        for row in kept:
            for (_, start), (stop, _) in itertools.pairwise(_runs(row)):
                if stop - start <= gap:
                    row[start:stop] = True
        self.blocks, self.words = [], 0
        for n0, n1 in _changes(kept):
            for number, (k0, k1) in enumerate(_runs(parts.stored(kept[n0]))):
                part = Part(n0, n1, k0, k1)
                products = [Part(n0, n1, k0 + start, k0 + stop) for start, stop in _runs(kept[n0, k0:k1])]
                self.blocks.append(_Block(part, self.words, products, number > 0))
                self.words += parts.words(part)
        empty = ~kept.any(1)
        self.zero_panels = empty.reshape(-1, self.config.tiles_per_panel).all(1)
        self.constant_tiles = empty & ~self.zero_panels.repeat(self.config.tiles_per_panel)

    def cost(self, rows, product):
        """Cycles for so many rows, roughly; a product costs ``product`` besides."""
        return sum(self.parts.cycles(rows, part) + product for block in self.blocks for part in block.products)

    @property
    def products(self):
        """Weights of the model that are multiplied, those of zeros that stay included."""
        kept = sum(self.parts.weights_of(part) for block in self.blocks for part in block.products)
        return ceil_div(self.weights.products * kept, self.op.weight.size)

    @property
    def bytes(self):
        """Bytes of the weights that are stored, padding left out."""
        return ceil_div(self.weights.bytes * self.products, self.weights.products)

    def pack(self):
        """All words that are stored, uint8[bytes]."""
        return np.concatenate([self.parts.data(block.part) for block in self.blocks] or [np.zeros(0, np.uint8)])

    def _pieces(self, n0, n1, k0, k1):
        """``(block, part)`` of all that is stored of N panels ``n0..n1`` and K panels ``k0..k1``."""
        per = self.config.tiles_per_panel
        wanted = Part(n0 * per, n1 * per, *self.parts.k_range(k0, k1))
        # Blocks ascend with their N tiles.
        begin = bisect_right(self.blocks, wanted.n0, key=lambda b: b.part.n1)
        end = bisect_left(self.blocks, wanted.n1, key=lambda b: b.part.n0)
        for block in self.blocks[begin:end]:
            if part := block.part.within(wanted):
                yield block, part

    def load(self, ctx, n0, n1, k0, k1):
        """Loads what is stored of N panels ``n0..n1`` and K panels ``k0..k1``: a `_Piece`."""
        c, pieces = self.config, list(self._pieces(n0, n1, k0, k1))
        first_tile = n0 * c.tiles_per_panel
        if not pieces:
            return _Piece(first_tile, self.parts, [])
        scales = [self.parts.scale_words(part) for _, part in pieces]
        words = [self.parts.words(part) for _, part in pieces]
        scale_words = round_up(sum(scales), c.dma_words)
        base = ctx.weight_ring.take(scale_words + round_up(sum(words), c.dma_words))
        tiles = base + scale_words
        runs = _joined((block.first + first, run, count, pitch) for block, part in pieces
                       for first, run, count, pitch in [self.parts.run(part, block.part)])
        if ctx.offsets is not None and not any(number % c.dma_words for run in runs for number in (run[0], run[1], run[3])):
            # Programs that cut the layer differently read the same copy of its tiles.
            if scale_words:
                ctx.builder.load(ctx.memory.constant(lambda: self._scales(pieces), ("scales", *self.key, n0, n1, k0, k1)), base,
                                 scale_words, tracked=False)
            whole, place = ctx.memory.constant(lambda: self.packed, ("weights", *self.key)), tiles
            for first, run, count, pitch in runs:
                ctx.builder.load(whole + first * c.word_bytes, place, run, count, pitch * c.word_bytes, run, tracked=False)
                place += run * count
        else:
            ctx.builder.load(ctx.memory.constant(lambda: self._data(pieces), ("weights", *self.key, n0, n1, k0, k1)), base,
                             scale_words + round_up(sum(words), c.dma_words), tracked=False)
        return _Piece(first_tile, self.parts, list(zip(
            pieces, itertools.accumulate(words, initial=tiles), itertools.accumulate(scales, initial=base))))

    def _scales(self, pieces):
        """Rows of scales of the pieces, uint8[bytes], whole units of the memory."""
        rows = np.concatenate([self.parts.scales(part) for _, part in pieces])
        return np.pad(rows, (0, -rows.size % self.config.dma_bytes))

    def _data(self, pieces):
        """Scales, then tiles of the pieces as they lie in memory, uint8[bytes]."""
        scales = [self._scales(pieces)] if any(self.parts.scale_words(part) for _, part in pieces) else []
        return np.concatenate(scales + [self.parts.data(part) for _, part in pieces])


def _joined(runs):
    """``runs`` with neighbours that follow one another as one."""
    result = []
    for first, run, count, pitch in runs:
        if result and count == 1 and result[-1][2] == 1 and result[-1][0] + result[-1][1] == first:
            result[-1] = (result[-1][0], result[-1][1] + run, 1, 0)
        else:
            result.append((first, run, count, pitch))
    return result


@dataclass(frozen=True)
class _Piece:
    """A piece of weights in the scratchpad, from N tile ``n0`` on. ``pieces``: ``((block, part), first word of its tiles, first
    word of its scales)``."""
    n0: int
    parts: object
    pieces: list

    def multiply(self, builder, operand, row, rows, k0, k_tiles, n0, n1, sums, accumulate, unsigned, stride):
        """As `weft.lower.weights.Piece`; of all of the piece, and ``accumulate`` follows from what is stored."""
        between = 1 if self.parts.weights.by_rows else stride
        for (block, part), base, scales in self.pieces:
            for product in filter(None, (part.within(product) for product in block.products)):
                self.parts.multiply(builder, product, base + self.parts.offset(product, part), scales, operand, row, rows,
                                    sums + (part.n0 - self.n0) * between,
                                    block.accumulate or product.k0 > block.products[0].k0, unsigned, stride)
