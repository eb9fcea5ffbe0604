"""Which words an instruction touches: the addresses of ``hw/README.md`` as index arrays.

Every function takes the configuration and the fields of an instruction (a namespace) and returns NumPy int64 arrays of
scratchpad words, accumulator words or memory bytes, shaped like the loops.
"""

import numpy as np

from weft.hw.isa import SPARSE_PANELS, WeightFormat

__all__ = ["dma_words", "dma_addresses", "k_features", "k_end", "moving_panels", "moving_words", "four_bit", "sparse_panels",
           "tile_words", "weight_words", "scale_rows", "scale_words", "tile_rows", "stationary_words",
           "accumulator_words", "panel_words", "element_bytes", "param_words", "softmax_param_words", "mask_words",
           "tile_runs", "INT16"]

INT16 = 2


def dma_words(f, start, stop):
    """Scratchpad words of outer iterations ``start..stop`` of a LOAD or STORE: int64[outer, inner, run]."""
    o = np.arange(start, stop)
    slot = (f.ring_start + o) % f.ring_slots if f.ring_slots else o
    return (f.spm_addr + (slot * f.outer_spm_stride)[:, None, None]
            + (np.arange(f.inner_count) * f.inner_spm_stride)[:, None] + np.arange(f.run_words))


def dma_addresses(f, start, stop):
    """Memory byte of each run: int64[outer, inner]."""
    return (f.dram_addr + (np.arange(start, stop) * f.outer_dram_stride)[:, None]
            + np.arange(f.inner_count) * f.inner_dram_stride)


def k_features(config, tile):
    """First feature (counted over whole panels) of K tile ``tile``, counted from the first one of panel 0; K tiles follow each
    other without gaps."""
    return tile // config.k_tiles_per_panel * config.panel + tile % config.k_tiles_per_panel * config.rows


def k_end(config, k_stop):
    """Feature after the last one of K tile ``k_stop - 1`` (counted over whole panels)."""
    last = k_stop - 1
    panel_end = (last // config.k_tiles_per_panel + 1) * config.panel
    return min(k_features(config, last) + config.rows, panel_end)


def moving_panels(config, f, k_start, k_stop):
    """First panel of the moving operand that K tiles ``k_start..k_stop`` read, and the one after the last."""
    if covered := sparse_panels(f):
        return k_start * covered, k_stop * covered - (f.k_missing if k_stop == f.k_tiles else 0)
    per = config.k_tiles_per_panel
    return (f.k_offset + k_start) // per, (f.k_offset + k_stop - 1) // per + 1


def moving_words(config, f, k_start, k_stop):
    """Words of the moving operand that K tiles ``k_start..k_stop`` read: int64[rows, panels]."""
    panels = np.arange(*moving_panels(config, f, k_start, k_stop))
    return f.a_base + panels * f.a_panel_stride + np.arange(f.rows)[:, None]


def _format(f):
    """`WeightFormat` of a product's stationary operand, INT8 of K and V."""
    return getattr(f, "w_format", WeightFormat.INT8)


def four_bit(f):
    """Whether a product's stationary operand is 4-bit weights."""
    return _format(f) == WeightFormat.FOUR_BIT


def sparse_panels(f):
    """Panels that a K tile of a product covers whose stationary operand is sparse; else 0."""
    return SPARSE_PANELS.get(_format(f), 0)


def _own_words(config, f):
    """Words of a streamed tile, without scales."""
    if sparse_panels(f):
        return config.sparse_tile_words
    return config.four_bit_tile_words if four_bit(f) else config.weight_tile_words


def tile_words(config, f):
    """Words that a streamed tile is read from: its own, behind them the word of its scales if it has some."""
    return _own_words(config, f) + four_bit(f)


def weight_words(config, f, start, stop):
    """Words of the streamed weight tiles ``start..stop`` (positions in loop order): int64[tiles, tile_words]."""
    t = np.arange(start, stop)
    chunk = t // f.chunk_tiles
    slot = (f.ring_start + chunk) % f.ring_slots if f.ring_slots else chunk
    size = _own_words(config, f)
    first = f.w_base + (slot * f.chunk_tiles + t % f.chunk_tiles) * size
    words = first[:, None] + np.arange(size)
    return np.concatenate([words, scale_words(config, f, t)[:, None]], axis=1) if four_bit(f) else words


def scale_rows(f, k):
    """Rows of scales, among those of their N tile, of the upper and the lower half of K tiles ``k``: int64[..., 2]."""
    return np.stack([k // f.w_group] * 2 if f.w_group else [2 * k, 2 * k + 1], axis=-1)


def scale_words(config, f, t):
    """Word of the rows of scales of each tile ``t``, positions in loop order (K innermost): int64[tiles]."""
    n, k = np.divmod(t, f.k_tiles)
    per_tile = scale_rows(f, np.int64(f.k_tiles - 1))[1] // config.scale_rows_per_word + 1
    return f.s_base + n * per_tile + scale_rows(f, k)[:, 0] // config.scale_rows_per_word


def tile_rows(config, mnemonic, f):
    """Rows of the stationary operand that an N tile of a MATMUL_KT (keys) or MATMUL_C takes."""
    if mnemonic == "MATMUL_KT":
        return config.cols
    return 1 if f.w_single else config.cols // f.block


def stationary_words(config, mnemonic, f, n_start, n_stop, k_start, k_stop):
    """Words of K, V or the rows of a MATMUL_C that tiles ``n_start..n_stop`` by ``k_start..k_stop`` need: int64[keys,
    panels], and how many keys there would be without ``w_limit``."""
    if mnemonic in ("MATMUL_KT", "MATMUL_C"):
        per_tile = tile_rows(config, mnemonic, f)
        first_key, keys = n_start * per_tile, (n_stop - n_start) * per_tile
        panels = np.arange(*moving_panels(config, f, k_start, k_stop))
    else:
        first_key = k_features(config, f.k_offset + k_start)
        keys = k_end(config, f.k_offset + k_stop) - first_key
        per = config.tiles_per_panel
        panels = np.arange(n_start // per, (n_stop - 1) // per + 1)
    limit = f.w_limit if mnemonic != "MATMUL_C" else first_key + keys
    present = np.arange(first_key, max(first_key, min(first_key + keys, limit)))
    return f.w_base + panels * f.w_panel_stride + present[:, None], keys


def accumulator_words(base, stride, tiles, rows):
    """int64[tiles, rows] for an array of tile numbers."""
    return base + np.asarray(tiles)[:, None] * stride + np.arange(rows)


def element_bytes(kind):
    """Bytes of an element of a scratchpad operand of that type."""
    return 2 if kind == INT16 else 1


def panel_words(config, kind, base, row_stride, panel_stride, rows, start, stop):
    """Words of tiles ``start..stop`` of a scratchpad operand: int64[rows, words], without repetitions within a row."""
    per, size = config.tiles_per_panel, element_bytes(kind)
    words = set()
    tile_bytes = config.cols * size
    for tile in range(start, min(stop, start + per)):
        first = tile % per * tile_bytes
        words.update((tile // per, w) for w in range(first // config.word_bytes,
                                                     (first + tile_bytes - 1) // config.word_bytes + 1))
    if stop - start > per:
        whole = (per * tile_bytes - 1) // config.word_bytes + 1
        last = [w for w in range((((stop - 1) % per + 1) * tile_bytes - 1) // config.word_bytes + 1)]
        words.update((p, w) for p in range(start // per + 1, (stop - 1) // per) for w in range(whole))
        words.update(((stop - 1) // per, w) for w in last)
    pairs = np.array(sorted(words), np.int64)
    return base + pairs[:, 0] * panel_stride + pairs[:, 1] + np.arange(rows)[:, None] * row_stride


def param_words(config, f, start, stop):
    """Words of the parameter records of tiles ``start..stop``: int64[tiles, param_tile_words]."""
    tiles = np.zeros(1, np.int64) if getattr(f, "param_hold", 0) else np.arange(start, stop)
    return f.param_base + tiles[:, None] * config.param_tile_words + np.arange(config.param_tile_words)


def softmax_param_words(config, f):
    """Words of a SOFTMAX's score records (one group's, for every group of every tile), then of the output scale's, a
    tile's records later: int64[2, param_group_words]."""
    return f.param_base + np.array([[0], [config.param_tile_words]]) + np.arange(config.param_group_words)


def mask_words(config, f):
    """Words of the mask rows: int64[rows, words], first slot of the first word that counts."""
    first_slot = f.key_start // config.cols % config.mask_tiles_per_word
    words = -(-(first_slot + f.tiles) // config.mask_tiles_per_word)
    return f.mask_base + np.arange(f.rows)[:, None] * f.mask_row_stride + np.arange(words), first_slot


def tile_runs(outer, inner, start, stop):
    """Rectangles ``(outer0, outer1, inner0, inner1)`` that cover positions ``start..stop`` of a loop of ``outer`` times
    ``inner`` iterations, in order."""
    runs = []
    while start < stop:
        o, i = divmod(start, inner)
        if i or stop - start < inner:
            end = min(inner, i + stop - start)
            runs.append((o, o + 1, i, end))
            start += end - i
        else:
            whole = (stop - start) // inner
            runs.append((o, o + whole, 0, inner))
            start += whole * inner
    return runs
