"""How tensors, weights and parameters lie in words: the compiler's side of "Data layout" in ``hw/README.md``.

Everything here is pure NumPy on a `weft.hw.config.Config`; nothing knows of instructions or addresses.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["ceil_div", "round_up", "Channels", "pack_rows", "unpack_rows", "tile_grid", "pack_weights", "pack_four_bit",
           "pack_generators", "pack_sparse", "pack_scales", "constant_channels", "pack_records", "pack_mask", "mask_row_words",
           "pack_table"]


def ceil_div(a, b):
    """``a / b`` rounded up."""
    return -(-a // b)


def round_up(a, granule):
    """``a`` rounded up to a multiple of ``granule``."""
    return ceil_div(a, granule) * granule


@dataclass(frozen=True)
class Channels:
    """Which feature of a tensor each channel of its panels holds.

    Features come in blocks (the heads of an attention tensor, or one block for all features); every block is
    padded to whole panels, so that a head never shares a panel with its neighbour.

    Parameters: ``features`` of the tensor, ``block`` features in one block, ``panel`` channels in one panel.
    """

    features: int
    block: int
    panel: int

    @cached_property
    def panels_per_block(self):
        return ceil_div(self.block, self.panel)

    @cached_property
    def panels(self):
        return ceil_div(self.features, self.block) * self.panels_per_block

    @cached_property
    def map(self):
        """int64[panels * panel]: the feature each channel holds, -1 for padding."""
        blocks = ceil_div(self.features, self.block)
        inner = np.arange(self.panels_per_block * self.panel)
        channels = np.arange(blocks)[:, None] * self.block + inner[None, :]
        channels[:, self.block:] = -1
        channels[channels >= self.features] = -1
        return channels.reshape(-1)

    def spread(self, values, axis=-1, fill=0):
        """``values`` with ``axis`` (length ``features``) spread to channels; padding holds ``fill``."""
        values = np.asarray(values)
        result = np.take(values, np.maximum(self.map, 0), axis=axis)
        index = [slice(None)] * values.ndim
        index[axis] = self.map < 0
        result[tuple(index)] = fill
        return result

    def gather(self, values):
        """Inverse of `spread` on the last axis: channels back to features."""
        order = np.empty(self.features, np.int64)
        order[self.map[self.map >= 0]] = np.flatnonzero(self.map >= 0)
        return np.take(values, order, axis=-1)


def pack_rows(config, values, channels, rows, dtype, row_major=True):
    """``values[r, features]`` as memory words, uint8[bytes]; rows beyond ``r`` up to ``rows`` hold zero.

    int8/uint8: ``[panels, rows]`` words; int16: ``[rows, panels]`` lines, or ``[panels, rows]`` without ``row_major``.
    """
    values = np.asarray(values)
    size = 2 if dtype == "int16" else 1
    spread = channels.spread(values).reshape(len(values), channels.panels, config.panel)
    words = np.zeros((rows, channels.panels, size * config.word_bytes), np.uint8)
    elements = np.ascontiguousarray(spread.astype({"int8": np.int8, "uint8": np.uint8, "int16": "<i2"}[dtype]))
    words[:len(values), :, :size * config.panel] = elements.view(np.uint8).reshape(len(values), channels.panels, -1)
    if size == 1 or not row_major:
        words = words.transpose(1, 0, 2)
    return np.ascontiguousarray(words).reshape(-1)


def unpack_rows(config, data, channels, rows, count, dtype, row_major=True):
    """Inverse of `pack_rows`: the first ``count`` rows as an integer array ``[count, features]``."""
    size = 2 if dtype == "int16" else 1
    words = np.asarray(data, np.uint8)
    if size == 1 or not row_major:
        words = words.reshape(channels.panels, rows, -1).transpose(1, 0, 2)
    else:
        words = words.reshape(rows, channels.panels, -1)
    elements = np.ascontiguousarray(words[:count, :, :size * config.panel])
    elements = elements.view({"int8": np.int8, "uint8": np.uint8, "int16": "<i2"}[dtype])
    return channels.gather(elements.reshape(count, -1))


def _tiles(config, weight, inputs, outputs):
    """A matrix int8[N, K] cut into tiles, their rows in the order of the slots: int8[n_tiles, k_tiles, rows, cols]."""
    c = config
    spread = outputs.spread(inputs.spread(np.asarray(weight, np.int8), axis=1), axis=0)
    n_tiles, k_panels = outputs.panels * c.tiles_per_panel, inputs.panels
    tiles = spread.reshape(n_tiles, c.cols, k_panels, c.panel)
    padded = np.zeros((n_tiles, c.cols, k_panels, c.k_tiles_per_panel * c.rows), np.int8)
    padded[..., :c.panel] = tiles
    tiles = padded.reshape(n_tiles, c.cols, k_panels * c.k_tiles_per_panel, c.rows).transpose(0, 2, 3, 1)
    return tiles[:, :, list(c.weight_row_order)]


def tile_grid(config, weight, inputs, outputs):
    """Which tiles of a matrix [N, K] hold anything but zeros, bool[n_tiles, k_tiles]."""
    return _tiles(config, np.asarray(weight) != 0, inputs, outputs).any((2, 3))


def pack_weights(config, weight, inputs, outputs):
    """A linear layer's weights as streamed tiles.

    Parameters: ``weight`` int8[N, K]; ``inputs``, ``outputs``: `Channels` of K and N.

    Returns uint8[n_tiles, k_tiles, weight_tile_words * word_bytes]; slice it and flatten for a chunk with K innermost.
    """
    c = config
    tiles = _tiles(c, weight, inputs, outputs)
    words = np.zeros((*tiles.shape[:2], c.weight_tile_words * c.weight_rows_per_word, c.weight_slot_bytes), np.int8)
    words[:, :, :c.rows, :c.cols] = tiles
    return words.view(np.uint8).reshape(*tiles.shape[:2], -1)


def _pack_nibbles(values):
    """Numbers of 4 bits [..., 2n], signed or not, as uint8[..., n], the first one in the low bits."""
    values = values.astype(np.uint8) & 15
    return values[..., ::2] | values[..., 1::2] << 4


def pack_four_bit(config, values, inputs, outputs):
    """4-bit weights ``values`` int8[N, K] in -8..7 as streamed tiles.

    Returns uint8[n_tiles, k_tiles, four_bit_tile_words * word_bytes].
    """
    c = config
    tiles = _tiles(c, values, inputs, outputs)
    rows = c.four_bit_tile_words * c.weight_rows_per_word * 2
    words = np.zeros((*tiles.shape[:2], rows, c.weight_slot_bytes), np.int8)
    words[:, :, :c.rows, :c.cols] = tiles
    return _pack_nibbles(words).reshape(*tiles.shape[:2], -1)


def pack_generators(config, generators, inputs, outputs):
    """Generators int8[N / b, K / b, b] of circulant blocks, each row of them like a row of activations.

    Returns uint8[k_panels, rows, word_bytes]: rows of the blocks of ``outputs``, panels of ``inputs``, whose channels keep
    blocks together.
    """
    b = generators.shape[2]
    rows, columns = (np.where(channels.map < 0, -1, channels.map // b)[::b] for channels in (outputs, inputs))
    spread = generators[np.maximum(rows, 0)][:, np.maximum(columns, 0)]
    spread[rows < 0] = 0
    spread[:, columns < 0] = 0
    words = np.zeros((inputs.panels, len(rows), config.word_bytes), np.int8)
    words[..., :config.panel] = spread.reshape(len(rows), inputs.panels, config.panel).transpose(1, 0, 2)
    return words.view(np.uint8)

def pack_sparse(config, form, outputs):
    """Sparse weights as streamed tiles: lines of indices, each before the lines of values that it serves.

    Parameters: ``form``: `weft.weights.SparseWeights` [N, whole K tiles], inputs spread to channels; ``outputs``: `Channels` of N.

    Returns uint8[n_tiles, k_tiles, sparse_tile_words * word_bytes].
    """
    c = config
    lines = c.sparse_tile_words // 2
    is_index = np.arange(lines) % 5 == 0

    def slots(numbers, count):
        """Numbers [N, groups, kept], a row of the array for each kept one, in slots: uint8[n_tiles, k_tiles, count, slot_bytes]."""
        spread = outputs.spread(numbers.reshape(len(numbers), -1), axis=0).reshape(-1, c.cols, numbers[0].size // c.rows, c.rows)
        rows = spread.transpose(0, 2, 3, 1)[:, :, list(c.weight_row_order)]
        padded = np.zeros((*rows.shape[:2], count, c.weight_slot_bytes), np.uint8)
        padded[:, :, :c.rows, :c.cols] = rows
        return padded

    line_slots = 2 * c.weight_rows_per_word
    values = slots(form.values, np.count_nonzero(~is_index) * line_slots)
    places = slots(form.places, 4 * np.count_nonzero(is_index) * line_slots)
    places = places.reshape(*places.shape[:2], -1, 4) << np.array([0, 2, 4, 6], np.uint8)
    words = np.zeros((*values.shape[:2], lines, c.line_bytes), np.uint8)
    words[:, :, ~is_index] = values.reshape(*values.shape[:2], -1, c.line_bytes)
    words[:, :, is_index] = np.bitwise_or.reduce(places, axis=-1).reshape(*values.shape[:2], -1, c.line_bytes)
    return words.reshape(*values.shape[:2], -1)


def pack_scales(config, scales, outputs):
    """Rows of scales ``scales`` [N, rows] in 0..15: uint8[n_tiles, bytes], whole words for each N tile."""
    c = config
    spread = outputs.spread(scales, axis=0).reshape(-1, c.cols, scales.shape[1]).transpose(0, 2, 1)
    rows = round_up(scales.shape[1], c.scale_rows_per_word)
    words = np.zeros((len(spread), rows, c.weight_slot_bytes), np.uint8)
    words[:, :scales.shape[1], :c.cols] = spread
    return _pack_nibbles(words).reshape(len(spread), -1)


def constant_channels(bias, mult, shift, constant):
    """``(bias, mult, shift)`` of records (int[channels]) that give, where ``constant`` (bool[channels]), what a sum of zero would
    give with the records passed, whatever the sums are; the others as they are. For configurations with ``constant_channels``.
    """
    bias, mult, shift = (np.asarray(v, np.int64) for v in (bias, mult, shift))
    result = (bias * mult + (np.int64(1) << (shift - 1))) >> shift
    # Nothing that is added later (a residual of 16 bits at most) brings more than 20 bits back into range.
    result = np.clip(result, -1 << 19, (1 << 19) - 1)
    return np.where(constant, result, bias), np.where(constant, 1, mult), np.where(constant, 0, shift)


def pack_records(config, bias, mult, shift, zero):
    """Parameter records of channels (whole tiles; each array broadcast), uint8[tiles * param_tile_words * word_bytes]."""
    c = config
    bias, mult, shift, zero = np.broadcast_arrays(*(np.asarray(v, np.int64) for v in (bias, mult, shift, zero)))
    record = (bias & 0xFFFFFFFF) | (mult & 0x3FFFF) << 32 | (shift & 0x3F) << 50 | (zero & 0xFF) << 56
    groups = record.reshape(-1, c.vector_lanes).astype("<i8")
    words = np.zeros((len(groups), c.param_group_words * c.word_bytes), np.uint8)
    words[:, :8 * c.vector_lanes] = groups.view(np.uint8).reshape(len(groups), -1)
    return words.reshape(-1)


def mask_row_words(config, keys):
    """Words of one mask row over ``keys`` keys; a multiple of the DMA granule."""
    tiles = ceil_div(ceil_div(keys, config.panel) * config.panel, config.cols)
    return round_up(ceil_div(tiles, config.mask_tiles_per_word), config.dma_words)


def pack_mask(config, mask, rows):
    """Mask rows ``bool[r, keys]`` as memory words, uint8[bytes]; rows beyond ``r`` up to ``rows`` hold zero."""
    c = config
    mask = np.asarray(mask, bool)
    tiles = ceil_div(mask.shape[1], c.cols)
    bits = np.zeros((rows, mask_row_words(c, mask.shape[1]) * c.mask_tiles_per_word, c.mask_slot_bits), bool)
    padded = np.zeros((len(mask), tiles * c.cols), bool)
    padded[:, :mask.shape[1]] = mask
    bits[:len(mask), :tiles, :c.cols] = padded.reshape(len(mask), tiles, c.cols)
    return np.packbits(bits.reshape(rows, -1), axis=1, bitorder="little").reshape(-1)


def pack_table(config, table):
    """A table's 256 entries as uint8[bytes], whole DMA granules."""
    data = np.zeros(round_up(256, config.dma_bytes), np.uint8)
    data[:256] = np.asarray(table).astype(np.int64) & 0xFF
    return data
