"""4-bit weights: what lies in memory, and programs with layers of both kinds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from lowering_graphs import GraphMaker, check_graph

from weft import qgraph as qg
from weft.hw.config import Config
from weft.hw.isa import disassemble
from weft.lower.layout import Channels
from weft.lower.traffic import compulsory_bytes
from weft.lower.weights import FourBitWeights, Piece, four_bit_fits
from weft.weights import GroupedWeights

SHAPES = {"4x4": (4, 4), "8x8": (8, 8), "16x16": (16, 16), "5x7": (5, 7), "12x4": (12, 4), "4x12": (4, 12), "8x12": (8, 12),
          "32x32": (32, 32)}
#: Groups that fit each of them.
GROUPS = {"4x4": 16, "8x8": 32, "16x16": 32, "5x7": 28, "12x4": 48, "4x12": 24, "8x12": 16, "32x32": 16}


def config_of(shape):
    return Config(rows=SHAPES[shape][0], cols=SHAPES[shape][1], four_bit=True)


def grouped(rng, n, k, group):
    return GroupedWeights(rng.integers(-8, 8, (n, k)).astype(np.int8),
                          rng.integers(1, 16, (n, -(-k // group))).astype(np.uint8), group)


def nibble(data, number):
    return int(data[number // 2]) >> number % 2 * 4 & 15


@given(shape=st.sampled_from(list(SHAPES)), k=st.integers(1, 150), n=st.integers(1, 40), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=25, deadline=None)
def test_pieces_hold_every_weight(shape, k, n, seed, data):
    """Decodes a piece weight by weight, from the words that ``hw/README.md`` says."""
    c, group = config_of(shape), GROUPS[shape]
    form = grouped(np.random.default_rng(seed), n, k, group)
    inputs, outputs = Channels(k, k, c.panel), Channels(n, n, c.panel)
    weights = FourBitWeights(c, type("Op", (), {"compressed": form}), inputs, outputs)
    k0 = data.draw(st.integers(0, inputs.panels - 1))
    k1 = data.draw(st.integers(k0 + 1, inputs.panels))
    tiles, scales = weights.data(0, outputs.panels, k0, k1), weights.scales(0, outputs.panels, k0, k1)
    assert scales.size == outputs.panels * weights.scale_words(k0, k1) * c.word_bytes
    assert tiles.size == weights.tiles(outputs.panels, k1 - k0) * c.four_bit_tile_words * c.word_bytes
    k_tiles, w_group, slot = (k1 - k0) * c.k_tiles_per_panel, weights.group(k0, k1), c.weight_slot_bytes
    found, half = np.zeros((n, k), np.int64), c.weight_steps
    for channel in range(n):
        n_tile, column = divmod(channel, c.cols)
        for feature in range(k0 * c.panel, min(k, k1 * c.panel)):
            panel, inside = divmod(feature, c.panel)
            tile, row = (panel - k0) * c.k_tiles_per_panel + inside // c.rows, inside % c.rows
            place = 2 * (half - 1 - row) if row < half else 2 * (c.rows - 1 - row) + 1
            start = (n_tile * k_tiles + tile) * c.four_bit_tile_words * c.word_bytes
            value = nibble(tiles[start:], place * slot + column)
            number = tile // w_group if w_group else 2 * tile + (row >= half)
            start = n_tile * (scales.size // (outputs.panels * c.tiles_per_panel))
            found[channel, feature] = (value - 16 * (value > 7)) * nibble(scales[start:], number * slot + column)
    span = slice(k0 * c.panel, k1 * c.panel)
    np.testing.assert_array_equal(found[:, span], form.expand()[:, span])


@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_layers(shape):
    """4-bit and 8-bit layers in one program, one of them with an operand in heads that panels do not divide."""
    config, group = config_of(shape), GROUPS[shape]
    m = GraphMaker(3)
    x = m.linear(m.input(9, 70), 60, group=group)
    q, kv = m.linear(x, 60, group=group), m.linear(x, 60)
    a = m.attention(q, kv, kv, 4, block=max(config.panel, 16 // config.panel * config.panel))
    graph = m.output(m.linear(m.linear(a, 33, group=group), 21, "int16", group=group), m.linear(x, 5))
    lowered = check_graph(graph, config)
    formats = {f.partition("w_format=")[2][:1] for f in disassemble(lowered.image.code) if " MATMUL " in f}
    assert formats == {"1", ""}
    # Without the option the same graph has 8-bit weights.
    plain = check_graph(graph, replace(config, four_bit=False))
    assert not any("w_format" in line for line in disassemble(plain.image.code))
    assert lowered.compulsory_bytes < plain.compulsory_bytes == compulsory_bytes(
        replace(graph, ops=[replace(op, compressed=None) if isinstance(op, qg.Linear) else op for op in graph.ops]))


def test_pieces_of_k():
    """A layer whose weights come in pieces of K, with rows that do not fit at once."""
    config = Config(rows=8, cols=8, scratchpad_kib=8, accumulator_kib=8, four_bit=True)
    for rows, k in (1, 700), (30, 700):
        m = GraphMaker(rows)
        lowered = check_graph(m.output(m.linear(m.input(rows, k), 50, group=32)), config)
        products = [line for line in disassemble(lowered.image.code) if " MATMUL " in line]
        assert any("accumulate=1" in line for line in products)
        assert all("w_format=1" in line for line in products)


def test_products_take_parts_of_a_piece():
    piece = Piece(n0=2, base=100, panel_words=8, scales=50, scale_words=3, group=2)
    run = piece.run(3, 5)
    assert run.fields == dict(w_base=108, w_format=1, w_group=2, s_base=53) and run.words == [(108, 16), (53, 6)]
    run = Piece(n0=2, base=100, panel_words=8).run(3, 5)
    assert run.fields == dict(w_base=108) and run.words == [(108, 16)]


def test_memory_of_weights():
    config, rng = config_of("16x16"), np.random.default_rng(0)
    for group, most in (32, 0.516), (128, 0.504):
        form = grouped(rng, 64, 768, group)
        channels = Channels(768, 768, 16), Channels(64, 64, 16)
        weights = FourBitWeights(config, type("Op", (), {"compressed": form}), *channels)
        stored = weights.packed.size + weights.scales(0, 4, 0, 48).size
        assert form.bytes <= stored <= most * 64 * 768


@pytest.mark.parametrize("shape, group, fits", [
    ("16x16", 16, True), ("16x16", 24, True), ("16x16", 20, False), ("32x32", 16, True), ("5x7", 32, False), ("12x4", 16, False),
    ("4x4", 128, True)])
def test_groups_that_fit(shape, group, fits):
    config = config_of(shape)
    assert four_bit_fits(config, group, Channels(150, 150, config.panel)) == fits


def test_other_groups_are_streamed_as_int8():
    m = GraphMaker(1)
    lowered = check_graph(m.output(m.linear(m.input(2, 70), 9, group=33)), config_of("4x4"))
    assert lowered.compulsory_bytes == 2 * 70 + 70 * 9 + 2 * 9


def test_channels_of_heads_keep_their_groups():
    """Groups count inputs, not channels: padding between heads moves them against the tiles."""
    config = config_of("4x4")
    assert four_bit_fits(config, 30, Channels(60, 6, 4)) and not four_bit_fits(config, 21, Channels(60, 6, 4))
