"""Layouts against the sentences of hw/README.md, element by element."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from weft.hw.config import Config
from weft.lower.context import Context
from weft.lower.layout import (Channels, constant_channels, mask_row_words, pack_mask, pack_records, pack_rows, pack_weights,
                               unpack_rows)
from weft.lower.memory import Allocator, BankedAllocator, Ring
from weft.lower.split import split, split_rows
from weft.qgraph import Rescale
from weft.sim import numerics
from weft.sim.golden.vectors import parse_records

CONFIGS = [Config.named("tiny"), Config(rows=5, cols=7), Config(rows=4, cols=8), Config(rows=16, cols=4),
           Config(rows=8, cols=12, vector_lanes=4)]
rng = np.random.default_rng(0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_rows(config, dtype):
    channels = Channels(30, 9, config.panel)
    low, high = {"int8": (-128, 128), "uint8": (0, 256), "int16": (-32768, 32768)}[dtype]
    values = rng.integers(low, high, (5, 30)).astype(dtype)
    data = pack_rows(config, values, channels, 6, dtype)
    size = 2 if dtype == "int16" else 1
    words = data.reshape(-1, size * config.word_bytes)
    for row in range(5):
        for feature in range(30):
            channel = int(np.flatnonzero(channels.map == feature)[0])
            panel, place = divmod(channel, config.panel)
            word = words[panel * 6 + row] if size == 1 else words[row * channels.panels + panel]
            assert word[size * place:size * (place + 1)].view(dtype)[0] == values[row, feature]
    np.testing.assert_array_equal(unpack_rows(config, data, channels, 6, 5, dtype), values)


def test_heads_do_not_share_panels():
    channels = Channels(24, 6, 4)
    assert channels.panels_per_block == 2
    for head in range(4):
        mine = channels.map[head * 8:head * 8 + 8]
        assert list(mine[:6]) == list(range(6 * head, 6 * head + 6)) and (mine[6:] == -1).all()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_weight_tiles(config):
    c = config
    k, n = 2 * c.panel + 3, c.panel + 2
    weight = rng.integers(-127, 128, (n, k)).astype(np.int8)
    inputs, outputs = Channels(k, k, c.panel), Channels(n, n, c.panel)
    tiles = pack_weights(c, weight, inputs, outputs)
    assert tiles.shape == (outputs.panels * c.tiles_per_panel, inputs.panels * c.k_tiles_per_panel,
                           c.weight_tile_words * c.word_bytes)
    for n_tile in range(tiles.shape[0]):
        for k_tile in range(tiles.shape[1]):
            panel, part = divmod(k_tile, c.k_tiles_per_panel)
            for row in range(c.rows):
                half = -(-c.rows // 2)
                slot = 2 * (half - 1 - row) if row < half else 2 * (c.rows - 1 - row) + 1
                found = tiles[n_tile, k_tile][slot * c.weight_slot_bytes:][:c.cols].view(np.int8)
                inside = part * c.rows + row
                feature = panel * c.panel + inside
                channel = n_tile * c.cols + np.arange(c.cols)
                wanted = np.zeros(c.cols, np.int8)
                if inside < c.panel and feature < k:
                    wanted[channel < n] = weight[channel[channel < n], feature]
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_records(config):
    c = config
    count = 2 * c.cols
    bias, mult = rng.integers(-2**31, 2**31, count), rng.integers(-131072, 131072, count)
    shift, zero = rng.integers(1, 48, count), rng.integers(-128, 128, count)
    words = pack_records(c, bias, mult, shift, zero).reshape(-1, c.param_group_words * c.word_bytes)
    for channel in range(count):
        group, lane = divmod(channel, c.vector_lanes)
        record = int.from_bytes(words[group][8 * lane:8 * lane + 8].tobytes(), "little")
        assert record & 0xFFFFFFFF == bias[channel] & 0xFFFFFFFF
        assert record >> 32 & 0x3FFFF == mult[channel] & 0x3FFFF
        assert record >> 50 & 0x3F == shift[channel]
        assert record >> 56 == zero[channel] & 0xFF


INT32, MULT = st.integers(-2**31, 2**31 - 1), st.integers(-2**17, 2**17 - 1)


@given(bias=INT32 | st.integers(-2000, 2000), mult=MULT, shift=st.integers(1, 47), zero=st.integers(-128, 255),
       residual=st.integers(-2**15, 2**15 - 1), sums=INT32, dtype=st.sampled_from(["int8", "uint8", "int16"]))
def test_constant_channels_are_sums_of_zero(bias, mult, shift, zero, residual, sums, dtype):
    b, m, s = (int(v[0]) for v in constant_channels([bias], [mult], [shift], np.array([True])))
    assert -2**31 <= b < 2**31 and (m, s) == (1, 0)
    found = numerics.requantize(numerics.without_constants(sums, s), m, s, b, zero) + residual
    assert numerics.clamp(found, dtype) == numerics.clamp(numerics.requantize(0, mult, shift, bias, zero) + residual, dtype)


def test_records_of_constant_tiles():
    """Whole N tiles, padding channels too; the others and other panels stay."""
    c = Config(rows=8, cols=4, vector_lanes=2)
    channels = Channels(21, 7, c.panel)
    rescale = Rescale(rng.integers(-9999, 9999, 21), rng.integers(1, 2**17, 21), rng.integers(9, 24, 21), "int8", -5)
    ctx, constant = SimpleNamespace(config=c), np.array([True, False, False, True, True, True])

    def records(panel0, panel1, **options):
        words = Context.rescale_records(ctx, rescale, channels, panel0, panel1, 7, **options)
        return np.stack(parse_records(c, words.reshape(1, -1, c.word_bytes), False))

    plain, made = records(0, 3), records(0, 3, constant=constant)
    np.testing.assert_array_equal(records(1, 3, constant=constant), made[:, c.panel:])
    mask = np.repeat(constant, c.cols)
    np.testing.assert_array_equal(made[:, ~mask], plain[:, ~mask])
    np.testing.assert_array_equal(made[1:, mask], [np.ones(mask.sum()), np.zeros(mask.sum()), plain[3, mask]])
    bias, mult, shift, _ = plain[:, mask]
    np.testing.assert_array_equal(made[0, mask], numerics.requantize(0, mult, shift, bias))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_masks(config):
    c, keys = config, 3 * config.panel + 1
    mask = rng.random((4, keys)) < 0.5
    data = pack_mask(c, mask, 5).reshape(5, mask_row_words(c, keys) * c.word_bytes)
    bits = np.unpackbits(data, axis=1, bitorder="little")
    for key in range(keys):
        tile, inside = divmod(key, c.cols)
        np.testing.assert_array_equal(bits[:4, tile * c.mask_slot_bits + inside], mask[:, key])
    assert bits.sum() == mask.sum()


def test_allocators():
    heap = Allocator(10, 50)
    a, b = heap.alloc(10), heap.alloc(20)
    assert (a, b) == (10, 20) and heap.alloc(20) is None and heap.largest() == 10
    heap.free(a)
    assert heap.alloc(10) == 40 and heap.alloc(10) == 10
    banked = BankedAllocator(64, 4)
    assert [banked.alloc(8) // 16 for _ in range(5)] == [0, 1, 2, 3, 0]
    ring = Ring(100, 160, 4)
    assert [ring.take(n) for n in (22, 24, 20, 8)] == [100, 124, 100, 120]
    with pytest.raises(ValueError):
        ring.take(64)


def test_splits():
    assert split(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert split_rows(10, 8, 2) == [(0, 6), (6, 10)]
    assert split_rows(5, 8, 2) == [(0, 5)]
