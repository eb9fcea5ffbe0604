"""Weight tiles that hold zeros only: neither stored, nor loaded, nor multiplied.

A product takes any number of N tiles, but its K tiles are consecutive and begin with a panel. So each N tile, or several with
zeros in the same places, gets a product for every run of K panels that remain.
"""

import itertools
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from weft.hw.isa import INSTRUCTION_BYTES

from .builder import Run
from .layout import ceil_div, round_up, tile_grid
from .streamed import StreamedWeights
from .weights import FourBitWeights, Int8Weights

__all__ = ["KeptTiles", "without_zero_tiles"]

#: Cycles that another product costs beside the fetch of its instruction, roughly: no tile of zeros is left out for less.
_PRODUCT_CYCLES = 4


def without_zero_tiles(weights, rows):
    """The `KeptTiles` of streamed weights that ``rows`` rows are multiplied with; the weights themselves where their format
    has none, or where leaving tiles out would save nothing."""
    if type(weights) not in (Int8Weights, FourBitWeights):
        return weights
    c = weights.config
    nonzero = tile_grid(c, weights.op.weight, weights.inputs, weights.outputs)
    # Tiles of padding alone are no reason.
    if nonzero.all() or not (tile_grid(c, np.ones_like(weights.op.weight), weights.inputs, weights.outputs) & ~nonzero).any():
        return weights
    tile = max(rows, c.weight_steps, ceil_div(weights.tile_words * c.word_bytes, c.data_bytes))
    product = ceil_div(INSTRUCTION_BYTES, c.data_bytes) + _PRODUCT_CYCLES
    kept = KeptTiles(weights, nonzero, product // (tile * c.k_tiles_per_panel))
    saved = (nonzero.size - kept.stored) * tile - len(kept.blocks) * product
    return kept if saved > 0 else weights


@dataclass(frozen=True)
class _Block:
    """``k_tiles`` K tiles from K panel ``k0`` on (to before ``k1``) of each of the N tiles ``n0..n1``, stored one N tile after
    the other. ``first``: number of the first one among all stored; ``accumulate``: earlier K panels are stored as well."""
    n0: int
    n1: int
    k0: int
    k1: int
    k_tiles: int
    first: int
    accumulate: bool


@dataclass(frozen=True)
class _Part:
    """What a piece of weights has of a block: N tiles ``n0..n1``, ``k_tiles`` tiles from K panel ``k0`` on, which begin
    ``skipped`` tiles behind the block's own."""
    block: _Block
    n0: int
    n1: int
    k0: int
    k1: int
    k_tiles: int
    skipped: int

    @property
    def tiles(self):
        return (self.n1 - self.n0) * self.k_tiles

    @property
    def runs(self):
        """``(first stored tile, tiles, count, tiles between the firsts)`` of its tiles: contiguous runs."""
        block = self.block
        first = block.first + (self.n0 - block.n0) * block.k_tiles + self.skipped
        if self.k_tiles == block.k_tiles:
            return first, self.tiles, 1, 0
        return first, self.k_tiles, self.n1 - self.n0, block.k_tiles


def _changes(rows):
    """``(start, stop)`` of the longest ranges of equal rows."""
    different = np.flatnonzero((rows[1:] != rows[:-1]).any(1)) + 1
    return list(itertools.pairwise([0, *different.tolist(), len(rows)]))


def _runs(row):
    """``(start, stop)`` of the ranges where a bool array is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return edges.reshape(-1, 2).tolist()


class KeptTiles(StreamedWeights):
    """Streamed weights of 8 or 4 bits without their tiles of zeros.

    ``nonzero`` bool[n_tiles, k_tiles]; ``gap``: so many K panels of zeros between others are not worth another product. An N tile
    of zeros in a panel with others keeps one tile of zeros, as results are taken by panels.
    """

    def __init__(self, weights, nonzero, gap=0):
        super().__init__(weights.config, weights.op, weights.inputs, weights.outputs)
        self.weights, c = weights, weights.config
        self.tile_words, self.panel_words, self.period = weights.tile_words, weights.panel_words, weights.period
        self.cycles, self.pace = weights.cycles, weights.pace
        panels = nonzero.reshape(len(nonzero), -1, c.k_tiles_per_panel).any(2)
        together = panels.reshape(-1, c.tiles_per_panel, panels.shape[1])
        self.zero_panels = ~together.any((1, 2))
        first = together.any(1).argmax(1).repeat(c.tiles_per_panel)
        lone = ~panels.any(1) & ~self.zero_panels.repeat(c.tiles_per_panel)
        panels[lone, first[lone]] = True
        for row in panels:
            for (_, start), (stop, _) in itertools.pairwise(_runs(row)):
                if stop - start <= gap:
                    row[start:stop] = True
        self._panels = panels
        self.blocks = self._blocks(nonzero)

    def _blocks(self, nonzero):
        per, blocks, stored = self.config.k_tiles_per_panel, [], 0
        for n0, n1 in _changes(self._panels):
            for number, (k0, k1) in enumerate(_runs(self._panels[n0])):
                k_tiles = (k1 - k0) * per
                if not isinstance(self.weights, FourBitWeights):
                    # Nothing follows tiles of zeros at a run's end; rows of scales, though, count whole panels.
                    used = np.flatnonzero(nonzero[n0:n1, k0 * per:k1 * per].any(0))
                    k_tiles = int(used[-1]) + 1 if used.size else 1
                blocks.append(_Block(n0, n1, k0, k1, k_tiles, stored, number > 0))
                stored += (n1 - n0) * k_tiles
        self.stored = stored
        return blocks

    @property
    def products(self):
        """Weights of the model that are multiplied, those of zeros that stay included."""
        return sum(self._features(self.outputs, block.n0 * self.config.cols, block.n1 * self.config.cols)
                   * self._features(self.inputs, *self._channels(block)) for block in self.blocks)

    @property
    def bytes(self):
        """Bytes of the weights that are stored, padding left out."""
        return ceil_div(self.weights.bytes * self.products, self.weights.products)

    def _channels(self, block):
        c = self.config
        panels, tiles = divmod(block.k_tiles, c.k_tiles_per_panel)
        return block.k0 * c.panel, (block.k0 + panels) * c.panel + tiles * c.rows

    @staticmethod
    def _features(channels, start, stop):
        return int((channels.map[start:stop] >= 0).sum())

    def pack(self):
        """All tiles that are stored, uint8[tiles, bytes]."""
        packed, per = self.weights.packed, self.config.k_tiles_per_panel
        return np.concatenate([packed[b.n0:b.n1, b.k0 * per:b.k0 * per + b.k_tiles].reshape(-1, packed.shape[-1])
                               for b in self.blocks] or [packed[:0].reshape(0, packed.shape[-1])])

    def _parts(self, n0, n1, k0, k1):
        """What is stored of N panels ``n0..n1`` and K panels ``k0..k1``."""
        c = self.config
        n0, n1 = n0 * c.tiles_per_panel, n1 * c.tiles_per_panel
        # Blocks ascend with their N tiles.
        begin, end = bisect_right(self.blocks, n0, key=lambda b: b.n1), bisect_left(self.blocks, n1, key=lambda b: b.n0)
        for block in self.blocks[begin:end]:
            tiles = max(block.n0, n0), min(block.n1, n1)
            first, stop = max(block.k0, k0), min(block.k1, k1)
            if first < stop:
                skipped = (first - block.k0) * c.k_tiles_per_panel
                k_tiles = min((stop - block.k0) * c.k_tiles_per_panel, block.k_tiles) - skipped
                yield _Part(block, *tiles, first, stop, k_tiles, skipped)

    def load(self, ctx, n0, n1, k0, k1):
        """Loads what is stored of N panels ``n0..n1`` and K panels ``k0..k1``: a `_Piece`."""
        c, parts = self.config, list(self._parts(n0, n1, k0, k1))
        groups = [self.weights.group(part.k0, part.k1) for part in parts]
        scales = [(part.n1 - part.n0) * self.weights.scale_words(part.k0, part.k1) // c.tiles_per_panel for part in parts]
        scale_words = round_up(sum(scales), c.dma_words)
        words = round_up(sum(part.tiles for part in parts) * self.tile_words, c.dma_words)
        if not words:
            return _Piece(n0 * c.tiles_per_panel, [])
        base = ctx.weight_ring.take(scale_words + words)
        op = id(self.op)
        if ctx.offsets is not None and self.tile_words % c.dma_words == 0:
            # Programs that cut the layer differently read the same copy of its tiles.
            if scale_words:
                ctx.builder.load(ctx.memory.constant(lambda: self._scales(parts), ("kept scales", op, n0, n1, k0, k1)), base, scale_words,
                                 tracked=False)
            whole = ctx.memory.constant(lambda: self.packed, ("kept", op))
            place = base + scale_words
            for first, run, count, pitch in _joined(part.runs for part in parts):
                first, run, pitch = (tiles * self.tile_words for tiles in (first, run, pitch))
                ctx.builder.load(whole + first * c.word_bytes, place, run, count, pitch * c.word_bytes, run, tracked=False)
                place += run * count
        else:
            ctx.builder.load(ctx.memory.constant(lambda: self._data(parts), ("kept", op, n0, n1, k0, k1)), base, scale_words + words,
                             tracked=False)
        return _Piece(n0 * c.tiles_per_panel, list(zip(
            parts, groups, itertools.accumulate(scales, initial=base), scales,
            itertools.accumulate((part.tiles * self.tile_words for part in parts), initial=base + scale_words))),
            self.tile_words)

    def _scales(self, parts):
        """Rows of scales of ``parts``, uint8[bytes], whole units of the memory."""
        rows = [self.weights.scale_rows(part.k0, part.k1)[part.n0:part.n1].reshape(-1) for part in parts]
        rows = np.concatenate(rows)
        return np.pad(rows, (0, -rows.size % self.config.dma_bytes))

    def _data(self, parts):
        """Scales, then tiles of ``parts`` as they lie in memory, uint8[bytes]."""
        scales = [self._scales(parts)] if isinstance(self.weights, FourBitWeights) else []
        for part in parts:
            first, run, count, pitch = part.runs
            scales += [self.packed[first + n * pitch:first + n * pitch + run].reshape(-1) for n in range(count)]
        return np.concatenate(scales)


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
    """A piece of weights in the scratchpad, from N tile ``n0`` on. ``parts``: ``(part, w_group, first word and words of its
    scales, first word of its tiles)``."""
    n0: int
    parts: list
    tile_words: int = 0

    def multiply(self, builder, operand, row, rows, k0, k_tiles, n0, n1, sums, accumulate, unsigned, stride):
        """As `weft.lower.weights.Piece`; of all of the piece, and ``accumulate`` follows from what is stored."""
        for part, group, scales, scale_words, base in self.parts:
            words = [(base, part.tiles * self.tile_words), *([(scales, scale_words)] if scale_words else [])]
            builder.matmul(operand, row, rows, part.k0, part.k_tiles, part.n1 - part.n0, sums + (part.n0 - self.n0) * stride,
                           Run.of(base, words, group, scales), accumulate=part.block.accumulate or part.skipped > 0,
                           unsigned=unsigned, stride=stride)
