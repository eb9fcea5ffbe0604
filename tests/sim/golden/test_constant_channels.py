"""Constant channels in hand-written programs: golden model and reference against the formula, and what is refused."""

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.errors import ProgramError
from weft.hw.isa import Element
from weft.lower.layout import pack_records
from weft.sim import numerics
from weft.sim.golden import GoldenMachine

#: Two N tiles in a panel, three groups of records in a tile, one tile in a panel.
CONFIGS = {"8x4": Config(rows=8, cols=4), "8x6": Config(rows=8, cols=6, vector_lanes=2), "4x4": Config(rows=4, cols=4)}
ROWS = 3
#: Scratchpad words of the operands.
A, WEIGHTS, RECORDS, RESIDUAL, RESULTS = 0, 64, 256, 512, 768


def made(build, config, shift, seed=0, products=(0,), records="records", order=True, **option):
    """``(image, expected int16[ROWS, 2 panels])``: REQUANT of two panels, of whose N tiles only ``products`` have sums of
    ones times ones; ``shift``: of each channel's record. ``records``: where they come from. ``order``: REQUANT comes after
    the products."""
    rng, c = np.random.default_rng(seed), config
    tiles = 2 * c.tiles_per_panel
    shift = np.broadcast_to(shift, tiles * c.cols)
    bias = rng.choice([-2**31, 2**31 - 1, 2**19, -300, 77, 0], shift.size)
    bias[shift > 0] = rng.integers(-1000, 1000, (shift > 0).sum())
    mult, zero = rng.choice([1, 1, -2**17, 2**17 - 1], shift.size), rng.integers(-128, 128, shift.size)
    residual = rng.integers(-2**15, 2**15, (ROWS, 2, c.panel))
    lines = np.zeros((ROWS, 2, c.line_bytes), np.uint8)
    lines[..., :2 * c.panel] = residual.astype("<i2").view(np.uint8).reshape(ROWS, 2, -1)
    data = {"a": np.ones((ROWS, c.word_bytes), np.uint8), "weights": np.ones(c.weight_tile_words * c.word_bytes, np.uint8),
            "residual": lines, "records": pack_records(c, bias, mult, shift, zero)}
    data = {name: np.pad(d.reshape(-1), (0, -d.size % c.dma_bytes)) for name, d in data.items()}
    size = ROWS * 4
    buffers = [("out", "output", size * c.word_bytes)] + [("input", "input", data["records"].size)] * (records == "input")
    b = build(list(data.items()), buffers, c)
    for name, place in ("a", A), ("weights", WEIGHTS), ("residual", RESIDUAL):
        b.load(name, place, data[name].size // c.word_bytes)
    b.load(records, RECORDS, data["records"].size // c.word_bytes)
    b.add("BARRIER")
    for n in products:
        b.add("MATMUL", a_base=A, a_panel_stride=ROWS, rows=ROWS, k_tiles=1, n_tiles=1, acc_base=n * ROWS, w_base=WEIGHTS,
              chunk_tiles=1)
    if order:
        b.add("BARRIER")
    b.add("REQUANT", src_type=Element.ACC, src_row_stride=1, src_panel_stride=ROWS, dst_type=Element.INT16, dst_base=RESULTS,
          dst_row_stride=4, dst_panel_stride=2, rows=ROWS, tiles=tiles, param_base=RECORDS, residual=1, res_type=Element.INT16,
          res_base=RESIDUAL, res_row_stride=4, res_panel_stride=2, **option)
    b.add("BARRIER").store("out", RESULTS, size)
    sums = np.zeros(tiles, np.int64)
    sums[list(products)] = c.rows
    y = np.where(shift == 0, bias * mult, numerics.requantize(np.repeat(sums, c.cols), mult, np.maximum(shift, 1), bias)) + zero
    return b.image(), numerics.clamp(y + residual.reshape(ROWS, -1), "int16")


def channels(config, *tiles):
    """Shifts of records of which all channels of ``tiles`` are constant."""
    return np.repeat(np.where(np.isin(np.arange(2 * config.tiles_per_panel), tiles), 0, 9), config.cols)


@pytest.mark.parametrize("name", ["8x4", "8x6"])
@pytest.mark.parametrize("seed", range(3))
def test_values(build, computes, name, seed):
    config = CONFIGS[name]
    some = channels(config, 1, 2)
    some[[0, 2]] = 0
    for shift, products in (some, (0, 3)), (some, (0, 1, 2, 3)), (0, ()):
        computes(*made(build, config, shift, seed, products))


def test_tiles_without_sums(build):
    """The accumulators of a constant tile may be written at the same time, or never; those of others not."""
    c = CONFIGS["8x4"]
    GoldenMachine(made(build, c, channels(c, 1, 2), products=(0, 3))[0]).check()
    GoldenMachine(made(build, c, 0, products=(0, 1), order=False)[0]).check()
    one = channels(c, 1, 2)
    one[5] = 9
    for shift, products, order, message in [
            (one, (0, 3), True, "reads accumulator word 3, which nothing has written"),
            (channels(c, 0, 1, 2), (3,), False,
             r"reads accumulator word 9(, which nothing has written| while the row streamer writes it)"),
            (channels(c, 1, 2), (0,), True, "reads accumulator word 9, which nothing has written")]:
        with pytest.raises(ProgramError, match=message):
            GoldenMachine(made(build, c, shift, products=products, order=order)[0]).check()


def test_records_that_may_change(build):
    """Records from an input are no constants; their channels still are."""
    c = CONFIGS["8x4"]
    with pytest.raises(ProgramError, match=r"\(REQUANT\): reads accumulator word 0, which nothing has written"):
        GoldenMachine(made(build, c, 0, products=(), records="input")[0]).check()
    image, expected = made(build, c, 0, products=range(4), records="input")
    values = image.constant[image.code_offset - image.buffer("input").bytes:image.code_offset]
    found = GoldenMachine(image).run({"input": values}).outputs["out"]
    np.testing.assert_array_equal(found.view("<i2").reshape(expected.shape), expected)


def test_held_records_serve_every_tile(build):
    c = CONFIGS["8x4"]
    GoldenMachine(made(build, c, channels(c, 0), products=(), param_hold=1)[0]).check()
    with pytest.raises(ProgramError, match="reads accumulator word 0, which nothing has written"):
        GoldenMachine(made(build, c, channels(c, 1, 2, 3), products=(), param_hold=1)[0]).check()


def test_accumulators_are_in_range(build):
    c = CONFIGS["8x4"]
    with pytest.raises(ProgramError, match=rf"reads accumulator word {c.accumulator_words}, the last one"):
        GoldenMachine(made(build, c, 0, products=(), src_base=c.accumulator_words - 4 * ROWS + 1)[0]).check()


def test_one_tile_in_a_panel(build):
    c = CONFIGS["4x4"]
    with pytest.raises(ProgramError, match="reads accumulator word 0, which nothing has written"):
        GoldenMachine(made(build, c, 0, products=())[0]).check()
    with pytest.raises(ProgramError, match="the parameter record of channel 0 has shift 0"):
        GoldenMachine(made(build, c, 0, products=(0, 1))[0]).run({})


@pytest.mark.parametrize("name", ["8x4", "4x4"])
def test_not_in_a_norm(build, name):
    """Padding has records of zeros there, nothing else has shift 0."""
    c = CONFIGS[name]
    for bias, mult in (0, 0), (1, 0), (0, 1):
        records = pack_records(c, np.full(c.panel, bias), mult, 0, 3)
        b = build([("p", records), ("x", np.zeros(c.line_bytes, np.uint8))], [], c)
        b.load("p", RECORDS, records.size // c.word_bytes).load("x", A, 2 * c.dma_words).add("BARRIER")
        source = dict(src_base=A, src_row_stride=2, src_panel_stride=2, rows=1, tiles=c.tiles_per_panel, features=c.panel)
        b.add("STATS", **source).add("NORM", **source, dst_base=RESULTS, dst_row_stride=1, param_base=RECORDS)
        if bias or mult:
            with pytest.raises(ProgramError, match="the parameter record of channel 0 has shift 0"):
                GoldenMachine(b.image()).run({})
        else:
            GoldenMachine(b.image()).run({})
