"""Matrix products, exact through floating-point BLAS.

A float32 product is exact when no sum of its terms' magnitudes passes 2^24; longer sums are cut into parts.
"""

from functools import cached_property
from hashlib import blake2b

import numpy as np

from . import layout

__all__ = ["ConstantWeights", "Product", "StageTiles", "StageKeys", "exact_product"]

_EXACT = 1 << 24
#: Constant weights kept as float32, bytes; those beyond are converted for each product.
_FLOAT_BUDGET = 256 << 20


def exact_product(a, w, bound):
    """``a @ w`` of integer arrays as int64; ``bound``: sum of magnitudes of the terms of any one result."""
    parts = max(1, -(-bound // (_EXACT - 1)))
    if parts > a.shape[-1]:
        parts = a.shape[-1]
    result = None
    for k in np.array_split(np.arange(a.shape[-1]), parts):
        part = np.matmul(a[..., k[0]:k[-1] + 1].astype(np.float32),
                         w[..., k[0]:k[-1] + 1, :].astype(np.float32))
        result = part.astype(np.int64) if result is None else result + part.astype(np.int64)
    return result


def _nibbles(data):
    """The 4-bit numbers in bytes uint8[..., n], low ones first: uint8[..., 2n]."""
    return np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:-1], -1)


def _expand_four_bit(config, f, words, k_start):
    """int8[..., nk, nn, rows, cols] in the order of the slots, from the words of 4-bit tiles, each behind them its scales."""
    *lead, nk, nn, _, _ = words.shape
    half = config.weight_slot_bytes // 2
    values = words[..., :-1, :].reshape(*lead, nk, nn, -1, half)[..., :config.rows, :]
    values = _nibbles(values)[..., :config.cols].astype(np.int8)
    values = np.where(values > 7, values - 16, values)
    scales = _nibbles(words[..., -1, :].reshape(*lead, nk, nn, -1, half))[..., :config.cols].astype(np.int8)
    rows = layout.scale_rows(f, k_start + np.arange(nk)) % config.scale_rows_per_word
    # Slots of the upper and the lower half take turns.
    rows = rows[:, np.arange(config.rows) % 2].reshape(*[1] * len(lead), nk, 1, config.rows, 1)
    return values * np.take_along_axis(scales, rows, axis=-2)


def _expand_sparse(config, f, words):
    """int16[..., nk, nn, features, cols] from the words of sparse tiles: each value in its place in its block of four features,
    where two may add up."""
    *lead, nk, nn, _, _ = words.shape
    panels, slot, rows, cols = layout.sparse_panels(f), config.weight_slot_bytes, config.rows, config.cols
    # Every fifth line holds indices, four to a byte.
    lines = words.reshape(*lead, nk, nn, -1, config.line_bytes)
    is_index = np.arange(lines.shape[-2]) % 5 == 0
    indices = lines[..., is_index, :].reshape(*lead, nk, nn, -1, 1) >> np.array([0, 2, 4, 6], np.uint8) & 3
    order = np.argsort(config.weight_row_order)
    indices = indices.reshape(*lead, nk, nn, -1, slot)[..., order, :cols]
    values = np.ascontiguousarray(lines[..., ~is_index, :].reshape(*lead, nk, nn, -1, slot)[..., order, :cols])
    # Several rows have the same block of a 2:4 tile.
    tiles = np.zeros((*lead, nk, nn, panels * rows // 4, 4, cols), np.int16)
    kept = 4 // panels
    for row in range(kept):
        here = indices[..., row::kept, None, :] == np.arange(4, dtype=np.uint8)[:, None]
        tiles += np.where(here, values.view(np.int8)[..., row::kept, None, :], 0)
    return tiles.reshape(*lead, nk, nn, panels * rows, cols)


def _tile_matrix(config, f, words, k_start):
    """int8[..., K, N] (int16 of sparse tiles) from tile words uint8[..., nk, nn, tile_words, word_bytes] whose first K tile is
    ``k_start``; ``f``: the product's fields."""
    *lead, nk, nn, _, _ = words.shape
    if layout.sparse_panels(f):
        tiles = np.moveaxis(_expand_sparse(config, f, words), -3, -2)
        tiles = tiles.reshape(*lead, -1, nn * config.cols)
        first, stop = layout.moving_panels(config, f, k_start, k_start + nk)
        return np.ascontiguousarray(tiles[..., :(stop - first) * config.panel, :])
    slots = np.argsort(config.weight_row_order)
    if layout.four_bit(f):
        tiles = _expand_four_bit(config, f, words, k_start)[..., slots, :]
    else:
        tiles = words.reshape(*lead, nk, nn, -1, config.weight_slot_bytes)[..., slots, :config.cols]
    tiles = np.moveaxis(tiles, -3, -2).reshape(*lead, nk * config.rows, nn * config.cols)
    tile = f.k_offset + k_start + np.arange(nk)
    features = np.minimum(config.rows, config.panel - tile % config.k_tiles_per_panel * config.rows)
    keep = (np.arange(config.rows) < features[:, None]).reshape(-1)
    return np.ascontiguousarray(tiles[..., keep, :]).view(np.int8)


class ConstantWeights:
    """Matrices of the weights among an image's constants, made once however many plans and products use them.

    ``words``: the constants, uint8[words, word_bytes].
    """

    def __init__(self, config, words):
        self.config, self.words = config, words
        self._matrices = {}
        self._float_bytes = 0

    def matrix(self, addresses, f, k_start):
        """The matrix whose tile words lie at ``addresses`` (int64[nk, nn, tile_words]); K tiles count from ``k_start``; ``f``:
        the product's fields."""
        if layout.four_bit(f):
            place = f.k_offset, k_start, f.w_group
        elif layout.sparse_panels(f):
            place = f.w_format, f.k_missing if k_start + len(addresses) == f.k_tiles else 0
        else:
            place = (f.k_offset + k_start) % self.config.k_tiles_per_panel, None
        key = place, addresses.shape, blake2b(np.ascontiguousarray(addresses), digest_size=16).digest()
        if key not in self._matrices:
            words = self.words[addresses // self.config.word_bytes]
            self._matrices[key] = _ConstantMatrix(_tile_matrix(self.config, f, words, k_start))
        return self._matrices[key]

    def keeps(self, size):
        """Whether ``size`` more numbers may be kept as float32; counts them if so."""
        if self._float_bytes + 4 * size > _FLOAT_BUDGET:
            return False
        self._float_bytes += 4 * size
        return True


class _ConstantMatrix:
    """Constant weights of integers (later float32) [K, N], cut by rows into parts whose float32 products are exact."""

    def __init__(self, values):
        self.values = values
        self._parts = {}

    @cached_property
    def nonzero(self):
        """Numbers of each row that are not zero, int64[K]."""
        return np.count_nonzero(self.values, axis=1)

    def parts(self, largest):
        """``[(start, stop)]`` for operands up to ``largest``."""
        if largest not in self._parts:
            magnitude = np.abs(self.values.astype(np.int16))
            found, parts = [], [(0, len(magnitude))]
            while parts:
                start, stop = parts.pop(0)
                if magnitude[start:stop].sum(axis=0, dtype=np.int64).max() * largest < _EXACT:
                    found.append((start, stop))
                else:
                    middle = (start + stop) // 2
                    parts[:0] = [(start, middle), (middle, stop)]
            self._parts[largest] = found
        return self._parts[largest]

    def multiply(self, a, largest, weights):
        """``a @ values``, int64; ``a`` float32[rows, K] of integers up to ``largest``."""
        parts = self.parts(largest)
        if self.values.dtype != np.float32 and weights.keeps(self.values.size):
            self.values = self.values.astype(np.float32)
        result = None
        for start, stop in parts:
            part = (a[:, start:stop] @ self.values[start:stop].astype(np.float32, copy=False)).astype(np.int64)
            result = part if result is None else result + part
        return result


class StageTiles:
    """Keeps streamed weight tiles that are not constants."""

    def __init__(self, config, group):
        self.operation, self.start, self.stop = group.operation, group.start, group.stop
        self.words = layout.weight_words(config, group.operation.f, group.start, group.stop)

    def run(self, state):
        f = self.operation.f
        if self.operation.number not in state.staged:
            state.staged[self.operation.number] = np.zeros(
                (state.batch, f.k_tiles * f.n_tiles, layout.tile_words(state.config, f), state.config.word_bytes), np.uint8)
        state.staged[self.operation.number][:, self.start:self.stop] = state.words(self.words)


def _turn(config, f, rows):
    """int8[batch, K, N] from the rows of a MATMUL_C, uint8[batch, rows, K]: ``[k*b + j, n*b + i]`` is row n's ``k*b + (i - j)
    mod b``."""
    b = f.block
    if f.w_unsigned:
        rows = rows ^ 0x80
    batch, count, features = rows.shape
    turn = (np.arange(b) - np.arange(b)[:, None]) % b
    blocks = rows.view(np.int8).reshape(batch, count, features // b, b)[..., turn].transpose(0, 2, 3, 1, 4)
    blocks = blocks.reshape(batch, features, count, b)
    if not f.w_single:
        return blocks.reshape(batch, features, count * b)
    tiles = np.zeros((batch, features, count, config.cols), np.int8)
    column = f.w_column * b
    tiles[..., column:column + b] = blocks if column < config.cols else 0
    return tiles.reshape(batch, features, count * config.cols)


class StageKeys:
    """Keeps the words of K, V or the rows of a MATMUL_C that tiles need: uint8[batch, keys, panels, word_bytes], zero where
    absent."""

    def __init__(self, config, group):
        operation = self.operation = group.operation
        f, by_columns = operation.f, operation.mnemonic != "MATMUL_V"
        per_n, per_k = config.tiles_per_panel, config.k_tiles_per_panel
        if by_columns:
            per_tile = layout.tile_rows(config, operation.mnemonic, f)
            self.shape = f.n_tiles * per_tile, -(-(f.k_offset + f.k_tiles) // per_k)
        else:
            self.shape = layout.k_end(config, f.k_offset + f.k_tiles), -(-f.n_tiles // per_n)
        words, places = [], []
        outer, inner = (f.k_tiles, f.n_tiles) if f.k_outer else (f.n_tiles, f.k_tiles)
        for o0, o1, i0, i1 in layout.tile_runs(outer, inner, group.start, group.stop):
            n0, n1, k0, k1 = (i0, i1, o0, o1) if f.k_outer else (o0, o1, i0, i1)
            part, _ = layout.stationary_words(config, operation.mnemonic, f, n0, n1, k0, k1)
            key = n0 * per_tile if by_columns else layout.k_features(config, f.k_offset + k0)
            panel = (f.k_offset + k0) // per_k if by_columns else n0 // per_n
            words.append(part.reshape(-1))
            places.append(((key + np.arange(part.shape[0]))[:, None] * self.shape[1]
                           + panel + np.arange(part.shape[1])).reshape(-1))
        self.words, self.places = np.concatenate(words), np.concatenate(places)

    def run(self, state):
        staged = state.staged.get(self.operation.number)
        if staged is None:
            staged = state.staged[self.operation.number] = np.zeros(
                (state.batch, *self.shape, state.config.word_bytes), np.uint8)
        staged.reshape(state.batch, -1, state.config.word_bytes)[:, self.places] = state.words(self.words)


class _Rectangle:
    """K tiles ``k0..k1`` of N tiles ``n0..n1``."""

    def __init__(self, config, operation, n0, n1, k0, k1):
        f = operation.f
        self.n0, self.n1, self.k0, self.k1 = n0, n1, k0, k1
        self.moving = layout.moving_words(config, f, k0, k1)
        self.panel, panel_stop = layout.moving_panels(config, f, k0, k1)
        if layout.sparse_panels(f):
            first, stop = self.panel * config.panel, panel_stop * config.panel
        else:
            first, stop = layout.k_features(config, f.k_offset + k0), layout.k_end(config, f.k_offset + k1)
        self.features = slice(first, stop)
        self.columns = slice(first - self.panel * config.panel, stop - self.panel * config.panel)
        self.results = layout.accumulator_words(f.acc_base, f.acc_stride, np.arange(n0, n1), f.rows)
        self.matrix = None


class Product:
    """MATMUL, MATMUL_KT, MATMUL_V or MATMUL_C over a range of tiles."""

    def __init__(self, config, group, resolved, constants):
        self.config, self.operation, self.constants = config, group.operation, constants
        f = self.f = group.operation.f
        self.largest = 255 if f.a_unsigned else 128
        outer, inner = (f.k_tiles, f.n_tiles) if f.k_outer else (f.n_tiles, f.k_tiles)
        self.rectangles = []
        for o0, o1, i0, i1 in layout.tile_runs(outer, inner, group.start, group.stop):
            n0, n1, k0, k1 = (i0, i1, o0, o1) if f.k_outer else (o0, o1, i0, i1)
            rectangle = _Rectangle(config, self.operation, n0, n1, k0, k1)
            if self.operation.mnemonic == "MATMUL":
                places = (np.arange(k0, k1)[:, None] * f.n_tiles + np.arange(n0, n1) if f.k_outer else
                          np.arange(n0, n1) * f.k_tiles + np.arange(k0, k1)[:, None])
                addresses = resolved.addresses[places]
                if (addresses >= 0).all():
                    rectangle.matrix = constants.matrix(addresses, f, k0)
                else:
                    rectangle.places, rectangle.addresses = places, addresses
            self.rectangles.append(rectangle)

    @property
    def macs(self):
        """Multiplications of the array: features of the K tiles (of sparse ones, weights that lie in memory) times columns times
        rows."""
        total = sum(self.f.rows * (r.features.stop - r.features.start) * (r.n1 - r.n0) * self.config.cols
                    for r in self.rectangles)
        return total // max(1, layout.sparse_panels(self.f))

    def _moving(self, state, rectangle):
        """Moving operand int8 or uint8[batch, rows, K]."""
        words = state.words(rectangle.moving)[..., :self.config.panel]
        words = words.reshape(state.batch, self.f.rows, -1)[..., rectangle.columns]
        return words if self.f.a_unsigned else words.view(np.int8)

    def _stationary(self, state, rectangle):
        """Stationary operand int8[batch, K, N] (int16 of sparse tiles), not constant."""
        config, mnemonic = self.config, self.operation.mnemonic
        staged = state.staged.get(self.operation.number)
        if mnemonic == "MATMUL":
            addresses = rectangle.addresses
            words = staged[:, rectangle.places]
            known = (addresses >= 0).all(axis=-1)
            words[:, known] = self.constants.words[addresses[known] // config.word_bytes]
            return _tile_matrix(config, self.f, words, rectangle.k0)
        if mnemonic in ("MATMUL_KT", "MATMUL_C"):
            per_tile = layout.tile_rows(config, mnemonic, self.f)
            panels = slice(*layout.moving_panels(config, self.f, rectangle.k0, rectangle.k1))
            keys = slice(rectangle.n0 * per_tile, rectangle.n1 * per_tile)
            words = staged[:, keys, panels, :config.panel]
            words = words.reshape(state.batch, words.shape[1], -1)[..., rectangle.columns]
            if mnemonic == "MATMUL_C":
                return _turn(config, self.f, words)
            return words.view(np.int8).swapaxes(1, 2)
        first = rectangle.n0 // config.tiles_per_panel
        panels = slice(first, (rectangle.n1 - 1) // config.tiles_per_panel + 1)
        words = staged[:, rectangle.features, panels, :config.panel]
        words = words.reshape(state.batch, words.shape[1], -1)
        start = rectangle.n0 * config.cols - first * config.panel
        return words[..., start:start + (rectangle.n1 - rectangle.n0) * config.cols].view(np.int8)

    def _multiply(self, state, rectangle):
        """int64[batch, rows, N]."""
        a = self._moving(state, rectangle)
        if rectangle.matrix is None:
            w = self._stationary(state, rectangle)
            return exact_product(a, w, a.shape[-1] * self.largest * (128 if w.dtype == np.int8 else 256))
        a = a.reshape(-1, a.shape[-1]).astype(np.float32)
        result = rectangle.matrix.multiply(a, self.largest, self.constants)
        return result.reshape(state.batch, self.f.rows, -1)

    def nonzero(self, state):
        """Multiplications of two numbers that are not zero, int64[batch]."""
        total = np.zeros(state.batch, np.int64)
        for rectangle in self.rectangles:
            moving = np.count_nonzero(self._moving(state, rectangle), axis=1)
            if rectangle.matrix is None:
                stationary = np.count_nonzero(self._stationary(state, rectangle), axis=2)
            else:
                stationary = rectangle.matrix.nonzero
            total += (moving.astype(np.int64) * stationary).sum(1)
        return total

    def run(self, state):
        f, config = self.f, self.config
        for rectangle in self.rectangles:
            product = self._multiply(state, rectangle)
            product = product.reshape(state.batch, f.rows, -1, config.cols).swapaxes(1, 2)
            if rectangle.k0 or f.accumulate:
                before = state.accumulators[:, rectangle.results].astype(np.int64)
                if rectangle.k0 == 0 and f.rescale:
                    distance = state.distance[:, f.state_base:f.state_base + f.rows][:, None, :, None]
                    half = np.where(distance > 0, np.left_shift(np.int64(1), np.maximum(distance - 1, 0)), 0)
                    before = np.where(distance > 31, 0, (before + half) >> np.minimum(distance, 31))
                product = product + before
            if product.size and (product.max() > 2 ** 31 - 1 or product.min() < -2 ** 31):
                b, n, m, c = np.argwhere((product > 2 ** 31 - 1) | (product < -2 ** 31))[0]
                raise self.operation.error(f"accumulator word {rectangle.results[n, m]} lane {c} overflows int32: "
                                           f"{product[b, n, m, c]}")
            state.accumulators[:, rectangle.results] = product
