"""What operands, weights and parameter records hold."""

import numpy as np

from weft.hw.isa import Element

__all__ = ["element_values", "four_bit_weights", "sparse_weights", "weight_tiles", "parameter_records", "score_records"]

_TYPES = {Element.INT8: np.int8, Element.UINT8: np.uint8, Element.INT16: np.int16}
#: Ranges that the shifts of a program's records are drawn from.
_SHIFTS = [(1, 12), (8, 24), (16, 36), (1, 64)]


def element_values(rng, kind, shape):
    """Element values: all of the range, or small ones, or extremes."""
    limits = np.iinfo(_TYPES[kind])
    style = rng.random()
    if style < 0.6:
        values = rng.integers(limits.min, limits.max + 1, shape)
    elif style < 0.9:
        values = rng.integers(max(limits.min, -4), 5, shape)
    else:
        values = rng.choice([limits.min, limits.max, 0, 1], shape)
    return values.astype(_TYPES[kind])


def weight_tiles(config, rng, tiles):
    """Weight tiles uint8[tiles, bytes] as they lie in memory; the bytes that do not count are arbitrary."""
    data = rng.integers(0, 256, (tiles, config.weight_tile_words * config.word_bytes), np.uint8)
    rows = data.reshape(tiles, -1, config.weight_slot_bytes)
    limit = int(rng.choice([3, 127]))
    shape = tiles, config.rows, config.cols
    rows[:, :config.rows, :config.cols] = rng.integers(-limit, limit + 1, shape).astype(np.uint8)
    return data


def four_bit_weights(config, rng, tiles, scale_words):
    """Words uint8[words, word_bytes] of so many 4-bit tiles, and of their scales: all of the range, or small numbers."""
    def words(number, least, most):
        nibbles = rng.integers(least, most + 1, (2, number, config.word_bytes)).astype(np.uint8) & 15
        return nibbles[0] | nibbles[1] << 4

    limit, largest = int(rng.choice([1, 7])), int(rng.choice([3, 15]))
    return words(tiles * config.four_bit_tile_words, -limit - 1, limit), words(scale_words, 0, largest)


def sparse_weights(config, rng, tiles):
    """Words uint8[words, word_bytes] of so many sparse tiles: values of all of the range, or small ones; any indices."""
    lines = rng.integers(0, 256, (tiles, config.sparse_tile_words // 2, config.line_bytes), np.uint8)
    limit = int(rng.choice([1, 3, 127]))
    values = rng.integers(-limit, limit + 1, lines.shape).astype(np.uint8)
    is_value = np.arange(lines.shape[1]) % 5 > 0
    lines[:, is_value] = values[:, is_value]
    return lines.reshape(-1, config.word_bytes)


def parameter_records(config, rng, tiles, score=False, constant=None):
    """Parameter records of ``tiles`` tiles uint8[groups, bytes]; ``score``: scores of moderate size; ``constant``: channels
    that are constant, bool[channels]."""
    count = tiles * config.groups_per_tile
    data = rng.integers(0, 256, (count, config.param_group_words * config.word_bytes), np.uint8)
    shape = count, config.vector_lanes
    bias = rng.integers(-(1 << int(rng.integers(1, 29))), 1 << int(rng.integers(1, 29)), shape)
    mult = rng.integers(-(1 << 17), 1 << 17, shape)
    shift = rng.integers(*_SHIFTS[int(rng.integers(len(_SHIFTS)))], shape)
    if score:
        bias, shift = bias >> 12, rng.integers(10, 26, shape)
    if constant is not None:
        constant = constant.reshape(shape)
        bias = np.where(constant, bias >> int(rng.integers(30)), bias)
        mult = np.where(constant & (rng.random(shape) < 0.8), 1, mult)
        shift = np.where(constant, 0, shift)
    zero = rng.integers(0, 256, shape)
    high = (mult & 0x3FFFF) | shift << 18 | zero << 24
    records = np.stack([bias.astype(np.int64) & 0xFFFFFFFF, high], axis=-1).astype("<u4")
    data[:, :8 * config.vector_lanes] = records.view(np.uint8).reshape(count, -1)
    return data


def score_records(config, rng):
    """Score records, then an output scale's, whose shift leaves room for the division's."""
    scale = parameter_records(config, rng, 1)
    scale.reshape(-1)[6] = scale.reshape(-1)[6] & 0x7F | 4
    return np.concatenate([parameter_records(config, rng, 1, score=True), scale])
