"""Sparse weights in hand-written programs: golden model and reference against the formula, and what is refused."""

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.errors import ProgramError
from weft.hw.isa import Element
from weft.sim.golden import GoldenMachine

CONFIGS = {"4x4": Config(rows=4, cols=4, sparsity="1:4"), "8x4": Config(rows=8, cols=4, sparsity="1:4")}
ROWS, K_TILES, N_TILES = 3, 3, 2
#: Scratchpad words of the operands.
A, WEIGHTS, RECORDS, RESULTS = 0, 128, 640, 768


def granules(config, data):
    return np.pad(data.reshape(-1), (0, -data.size % config.dma_bytes))


def made(build, config, w_format, missing, ring=False, w_base=WEIGHTS, seed=0):
    """``(image, expected int16[ROWS, N])``; the tiles are written byte by byte, as ``hw/README.md`` says."""
    rng, c, panels = np.random.default_rng(seed), config, {2: 2, 3: 4}[w_format]
    tiles = rng.integers(0, 256, (N_TILES, K_TILES, c.sparse_tile_words // 2, c.line_bytes), np.uint8)
    w = np.zeros((K_TILES, panels * c.rows, N_TILES, c.cols), np.int64)
    half, slot, slots = c.rows // 2, c.weight_slot_bytes, 2 * c.weight_rows_per_word
    for n, k, r, j in np.ndindex(N_TILES, K_TILES, c.rows, c.cols):
        place = 2 * (half - 1 - r) if r < half else 2 * (c.rows - 1 - r) + 1
        line = place // slots
        value = tiles[n, k, line + line // 4 + 1].view(np.int8)[place % slots * slot + j]
        index = tiles[n, k, line // 4 * 5, place % (4 * slots) * slot // 4 + j // 4] >> j % 4 * 2 & 3
        # Two rows may have the same place in one block: their products add up.
        w[k, 4 * (r // 2 if panels == 2 else r) + index, n, j] += value
    k_panels = K_TILES * panels - missing
    a = rng.integers(-1, 2, (k_panels, ROWS, c.word_bytes)).astype(np.int8)
    # With a ring, two chunks that begin with its second slot.
    data = {"weights": granules(c, np.roll(tiles, 1, axis=0) if ring else tiles),
            # A multiplier of 2 and a shift of 1 change nothing.
            "records": granules(c, np.tile(np.array([0, 0, 0, 0, 2, 0, 4, 0], np.uint8),
                                           c.param_group_words * c.word_bytes // 8)),
            "a": granules(c, a.view(np.uint8))}
    words = {name: d.size // c.word_bytes for name, d in data.items()}
    out_panels = N_TILES // c.tiles_per_panel
    size = ROWS * 2 * out_panels
    size += -size % c.dma_words
    b = build(list(data.items()), [("out", "output", size * c.word_bytes)], c)
    for name, place in ("a", A), ("weights", w_base), ("records", RECORDS):
        b.load(name, place, words[name])
    b.add("BARRIER")
    b.add("MATMUL", a_base=A, a_panel_stride=ROWS, rows=ROWS, k_tiles=K_TILES, n_tiles=N_TILES, acc_stride=ROWS, w_base=w_base,
          chunk_tiles=K_TILES, ring_slots=2 * ring, ring_start=int(ring), w_format=w_format, k_missing=missing)
    b.add("BARRIER")
    b.add("REQUANT", src_type=Element.ACC, src_row_stride=1, src_panel_stride=ROWS, dst_type=Element.INT16, dst_base=RESULTS,
          dst_row_stride=2 * out_panels, dst_panel_stride=2, rows=ROWS, tiles=N_TILES, param_base=RECORDS, param_hold=1)
    b.add("BARRIER").store("out", RESULTS, size)
    features = a[:, :, :c.panel].astype(np.int64).transpose(1, 0, 2).reshape(ROWS, -1)
    return b.image(), features @ w.reshape(-1, N_TILES * c.cols)[:features.shape[1]]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("w_format", "missing", "ring"), [(2, 0, False), (2, 1, True), (3, 0, True), (3, 3, False)])
def test_every_format(build, computes, name, w_format, missing, ring):
    config = CONFIGS[name]
    image, expected = made(build, config, w_format, missing, ring)
    computes(image, expected)


@pytest.mark.parametrize(("fields", "words"), [
    (dict(missing=2), "k_missing must be less than the 2 panels of a K tile, not 2"),
    (dict(missing=0, w_base=WEIGHTS + 1), "w_base must be a multiple of 2, not 129")])
def test_what_is_refused(build, fields, words):
    image, _ = made(build, CONFIGS["4x4"], 2, **fields)
    with pytest.raises(ProgramError, match=words):
        GoldenMachine(image).run({})


def test_panels_that_are_missing_are_not_read(build):
    """The last K tile's second panel has not been written: fine if it is missing, refused else."""
    config = CONFIGS["4x4"]
    for missing in 1, 0:
        b = build([("weights", np.zeros(4 * 12, np.uint8)), ("a", np.zeros(16, np.uint8))], [("out", "output", 64)], config)
        b.load("weights", WEIGHTS, config.sparse_tile_words).load("a", A, 1).add("BARRIER")
        b.add("MATMUL", rows=1, k_tiles=1, n_tiles=1, acc_stride=1, a_panel_stride=1, w_base=WEIGHTS, chunk_tiles=1, w_format=2,
              k_missing=missing)
        b.add("BARRIER")
        if missing:
            GoldenMachine(b.image()).run({})
        else:
            with pytest.raises(ProgramError, match="word 1"):
                GoldenMachine(b.image()).run({})


def test_each_panel_has_its_token(build):
    """``a_wait_each`` consumes a token for each panel of a K tile, the last one's too."""
    config = CONFIGS["4x4"]
    words = config.sparse_tile_words
    for given in 3, 2:
        b = build([("weights", np.zeros(2 * 4 * words, np.uint8)), ("a", np.zeros(64, np.uint8))], [("out", "output", 64)], config)
        b.load("weights", WEIGHTS, 2 * words).add("BARRIER")
        for panel in range(given):
            b.load("a", A + panel, 1, offset=4 * panel, signal=1)
        b.add("MATMUL", rows=1, k_tiles=2, n_tiles=1, acc_stride=1, a_panel_stride=1, w_base=WEIGHTS, chunk_tiles=2, w_format=2,
              k_missing=1, a_wait=1, a_wait_each=1)
        b.add("BARRIER")
        if given == 3:
            GoldenMachine(b.image()).run({})
        else:
            with pytest.raises(ProgramError, match="deadlock: .*semaphore 1"):
                GoldenMachine(b.image()).run({})
