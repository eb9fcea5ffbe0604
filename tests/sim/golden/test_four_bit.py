"""4-bit weights in hand-written programs: golden model and reference against the formula, and what is refused."""

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.errors import ProgramError
from weft.hw.isa import Element
from weft.sim.golden import GoldenMachine

CONFIGS = {"4x4": Config(rows=4, cols=4, four_bit=True), "5x4": Config(rows=5, cols=4, four_bit=True),
           "8x4": Config(rows=8, cols=4, four_bit=True)}
ROWS, K_TILES, N_TILES = 3, 5, 2
#: Scratchpad words of the operands.
A, WEIGHTS, SCALES, RECORDS, RESULTS = 0, 128, 512, 640, 768


def granules(config, data):
    return np.pad(data.reshape(-1), (0, -data.size % config.dma_bytes))


def matrix(config, values, scales, group):
    """The weights [K, N] that tiles (nibbles [n_tiles * k_tiles, half slots, 2 * bytes]) and rows of scales [n_tiles, rows, ...]
    mean, row by row as ``hw/README.md`` says."""
    half = -(-config.rows // 2)
    w = np.zeros((K_TILES, config.rows, N_TILES, config.cols), np.int64)
    for n in range(N_TILES):
        for k in range(K_TILES):
            for r in range(config.rows):
                place = 2 * (half - 1 - r) if r < half else 2 * (config.rows - 1 - r) + 1
                number = k // group if group else 2 * k + (r >= half)
                value = values[n * K_TILES + k, place, :config.cols].astype(np.int64)
                w[k, r, n] = (value - 16 * (value > 7)) * scales[n, number, :config.cols]
    return w.reshape(K_TILES * config.rows, N_TILES * config.cols)


def packed(nibbles):
    return (nibbles[..., ::2] | nibbles[..., 1::2] << 4).astype(np.uint8)


def made(build, config, group, ring, scales_loaded=True, seed=0):
    """``(image, inputs, expected int16[ROWS, N])``."""
    rng, c = np.random.default_rng(seed), config
    slots = c.four_bit_tile_words * c.scale_rows_per_word
    values = rng.integers(0, 16, (N_TILES * K_TILES, slots, c.weight_slot_bytes))
    rows = -(-K_TILES // group) if group else 2 * K_TILES
    scales = rng.integers(0, 16, (N_TILES, -(-rows // c.scale_rows_per_word) * c.scale_rows_per_word, c.weight_slot_bytes))
    a = rng.integers(-1, 2, (K_TILES, ROWS, c.word_bytes)).astype(np.int8)
    a[:, :, c.panel:] = 0
    k_panels = -(-K_TILES // c.k_tiles_per_panel)
    # With a ring, two chunks that begin with its second slot.
    stored = np.roll(packed(values), K_TILES * ring, axis=0)
    data = {"weights": granules(c, stored), "scales": granules(c, packed(scales)),
            # A multiplier of 2 and a shift of 1 change nothing.
            "records": granules(c, np.tile(np.array([0, 0, 0, 0, 2, 0, 4, 0], np.uint8),
                                           c.param_group_words * c.word_bytes // 8)),
            "a": granules(c, a[:k_panels].view(np.uint8))}
    words = {name: d.size // c.word_bytes for name, d in data.items()}
    panels = N_TILES // c.tiles_per_panel
    size = ROWS * 2 * panels
    size += -size % c.dma_words
    b = build(list(data.items()), [("out", "output", size * c.word_bytes)], c)
    for name, place in ("a", A), ("weights", WEIGHTS), ("records", RECORDS), ("scales", SCALES):
        if name != "scales" or scales_loaded:
            b.load(name, place, words[name])
    b.add("BARRIER")
    b.add("MATMUL", a_base=A, a_panel_stride=ROWS, rows=ROWS, k_tiles=K_TILES, n_tiles=N_TILES, acc_stride=ROWS, w_base=WEIGHTS,
          chunk_tiles=K_TILES, ring_slots=2 * ring, ring_start=int(ring), w_format=1, w_group=group, s_base=SCALES)
    b.add("BARRIER")
    b.add("REQUANT", src_type=Element.ACC, src_row_stride=1, src_panel_stride=ROWS, dst_type=Element.INT16, dst_base=RESULTS,
          dst_row_stride=2 * panels, dst_panel_stride=2, rows=ROWS, tiles=N_TILES, param_base=RECORDS, param_hold=1)
    b.add("BARRIER").store("out", RESULTS, size)
    w = matrix(c, values, scales, group).reshape(K_TILES, c.rows, -1)
    total = np.zeros((ROWS, w.shape[-1]), np.int64)
    for k in range(K_TILES):
        panel, first = k // c.k_tiles_per_panel, k % c.k_tiles_per_panel * c.rows
        features = a[panel, :, first:min(first + c.rows, c.panel)].astype(np.int64)
        total += features @ w[k, :features.shape[1]]
    return b.image(), total


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("group", [0, 1, 2, 63])
def test_every_group(build, computes, name, group):
    config = CONFIGS[name]
    image, expected = made(build, config, group, ring=group == 2)
    computes(image, expected)


def test_scales_must_be_there(build):
    image, _ = made(build, CONFIGS["4x4"], 1, ring=False, scales_loaded=False)
    with pytest.raises(ProgramError, match=r"MATMUL.*512"):
        GoldenMachine(image).run({})


def test_all_scales_come_before_the_first_tile(build):
    """The weights of the second chunk may come later, its scales may not."""
    config = CONFIGS["4x4"]
    words = 2 * config.four_bit_tile_words
    constants = [("weights", np.zeros(2 * words * 4, np.uint8)), ("scales", np.zeros(64, np.uint8)),
                 ("a", np.zeros(64, np.uint8))]
    for late in ("weights", "scales"):
        b = build(constants, [("out", "output", 64)], config)
        b.load("a", A, 8).add("BARRIER")
        b.load("weights", WEIGHTS, words)
        if late == "weights":
            b.load("scales", SCALES, 2, signal=1)
        else:
            b.load("scales", SCALES, 1, signal=1)
            b.load("scales", SCALES + 1, 1)
        b.load("weights", WEIGHTS + words, words, offset=4 * words, signal=1)
        b.add("MATMUL", rows=1, k_tiles=2, n_tiles=2, acc_stride=1, a_panel_stride=1, w_base=WEIGHTS, chunk_tiles=2, w_wait=1,
              w_format=1, w_group=1, s_base=SCALES)
        b.add("BARRIER")
        if late == "weights":
            GoldenMachine(b.image()).run({})
        else:
            with pytest.raises(ProgramError, match="513"):
                GoldenMachine(b.image()).run({})
