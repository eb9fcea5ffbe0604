"""Sparse weights: what lies in memory, and programs with sparse, dense and 4-bit layers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from lowering_graphs import GraphMaker, check_graph

from weft.hw.config import Config
from weft.hw.isa import decode
from weft.lower.layout import Channels, tile_grid
from weft.lower.sparse import SparseTiles, sparse_form
from weft.workloads import gemm

SHAPES = {"4x4": (4, 4), "8x8": (8, 8), "16x16": (16, 16), "12x6": (12, 6), "16x4": (16, 4), "6x6": (6, 6)}


def config_of(shape, sparsity="1:4", **more):
    return Config(rows=SHAPES[shape][0], cols=SHAPES[shape][1], sparsity=sparsity, **more)


def products(lowered):
    code = bytes(lowered.image.code)
    decoded = [decode(code[at:at + 32]) for at in range(0, len(code), 32)]
    return [fields for instruction, fields in decoded if instruction.mnemonic == "MATMUL"]


def formats(lowered):
    return {fields["w_format"] for fields in products(lowered)}


def pruned(rng, n, k, kept, density=1.0):
    places = rng.random((n, -(-k // 4), 4)).argsort(-1).argsort(-1)
    weight = rng.integers(-127, 128, (n, k)) * (places < kept).reshape(n, -1)[:, :k]
    return (weight * (rng.random((n, k)) < density)).astype(np.int8)


def unpacked(c, tiles, n_tiles, k_tiles, kept):
    """int64[n_tiles * cols, k_tiles * features]: the matrix in words of tiles, as ``hw/README.md`` says."""
    features, slot, slots = 4 // kept * c.rows, c.weight_slot_bytes, 2 * c.weight_rows_per_word
    found, half = np.zeros((n_tiles * c.cols, k_tiles * features), np.int64), c.rows // 2
    for n, k in np.ndindex(n_tiles, k_tiles):
        lines = tiles[(n * k_tiles + k) * c.sparse_tile_words * c.word_bytes:].reshape(-1, c.line_bytes)
        for r, col in np.ndindex(c.rows, c.cols):
            place = 2 * (half - 1 - r) if r < half else 2 * (c.rows - 1 - r) + 1
            line = place // slots
            value = lines[line + line // 4 + 1].view(np.int8)[place % slots * slot + col]
            indices = lines[line // 4 * 5][place % (4 * slots) * slot // 4:]
            index = indices[col // 4] >> 2 * (col % 4) & 3
            found[n * c.cols + col, k * features + 4 * (r // kept) + index] += value
    return found


@given(shape=st.sampled_from(list(SHAPES)), kept=st.sampled_from([1, 2]), k=st.integers(1, 150), n=st.integers(1, 40),
       density=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=25, deadline=None)
def test_pieces_hold_every_weight(shape, kept, k, n, density, seed, data):
    c = config_of(shape, f"{kept}:4")
    weight = pruned(np.random.default_rng(seed), n, k, kept, density)
    inputs, outputs = Channels(k, k, c.panel), Channels(n, n, c.panel)
    form = sparse_form(c, weight, inputs, outputs)
    if form is None:        # takes as few dense tiles
        tiles = -(-inputs.panels // (4 // kept))
        assert (inputs.panels * c.weight_tile_words < tiles * c.sparse_tile_words or inputs.panels == 1
                or tile_grid(c, weight, inputs, outputs).sum() <= tiles * outputs.panels * c.tiles_per_panel)
        return
    weights = SparseTiles(c, type("Op", (), {"compressed": form, "weight": weight}), inputs, outputs)
    assert type(weights.products) is type(weights.bytes) is int
    granule = weights.granule
    k0 = granule * data.draw(st.integers(0, (inputs.panels - 1) // granule))
    k1 = min(inputs.panels, granule * data.draw(st.integers(k0 // granule + 1, -(-inputs.panels // granule))))
    tiles = weights.data(0, outputs.panels, k0, k1)
    k_tiles = -(-(k1 - k0) // granule)
    assert tiles.size == outputs.panels * c.tiles_per_panel * k_tiles * c.sparse_tile_words * c.word_bytes
    assert tiles.size <= outputs.panels * k_tiles * granule * weights.panel_words * c.word_bytes
    found = unpacked(c, tiles, outputs.panels * c.tiles_per_panel, k_tiles, 4 // granule)
    expected = np.zeros_like(found)
    part = weight[:, k0 * c.panel:k1 * c.panel]
    expected[:n, :part.shape[1]] = part
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_layers(shape):
    """Sparse, dense and 4-bit layers in one program, K not a multiple of a tile, an operand in heads that panels do not divide."""
    config = config_of(shape, four_bit=True)
    m = GraphMaker(3)
    x = m.linear(m.input(9, 70), 60, kept=2)
    q, kv = m.linear(x, 60, kept=1), m.linear(x, 60)
    a = m.attention(q, kv, kv, 3, block=max(config.panel, 16 // config.panel * config.panel))
    group = 4 * config.rows
    graph = m.output(m.linear(m.linear(a, 33, kept=2), 21, "int16", group=group), m.linear(x, 70, "uint8", kept=1), m.linear(x, 5))
    lowered = check_graph(graph, config)
    assert formats(lowered) == {0, 1, 2, 3}
    # A configuration with 2:4 takes all sparse layers so, one without option none of them.
    some = check_graph(graph, replace(config, sparsity="2:4", four_bit=False))
    assert formats(some) == {0, 2}
    plain = check_graph(graph, replace(config, sparsity=None, four_bit=False))
    assert formats(plain) == {0}
    assert lowered.compulsory_bytes < some.compulsory_bytes < plain.compulsory_bytes


def test_neighbours_in_memory_count():
    """Heads of 6 features in panels of 4: groups of 4 features are no groups of 4 channels."""
    config, rng = config_of("4x4"), np.random.default_rng(1)
    weight = pruned(rng, 8, 24, 2)
    assert sparse_form(config, weight, Channels(24, 24, 4), Channels(8, 8, 4)).values.shape == (8, 6, 2)
    assert sparse_form(config, weight, Channels(24, 6, 4), Channels(8, 8, 4)) is None
    # Four neighbours of each head, and two zeros at most behind them.
    heads = pruned(rng, 32, 6, 2).reshape(8, 24)
    assert sparse_form(config, heads, Channels(24, 6, 4), Channels(8, 8, 4)).expand().any()


@pytest.mark.parametrize("sparsity, kept, rows, k", [
    ("2:4", 2, 1, 700), ("2:4", 2, 30, 700), ("1:4", 1, 30, 700), ("1:4", 2, 5, 650)])
def test_pieces_of_k(sparsity, kept, rows, k):
    """A layer whose weights come in pieces of K, with rows that do not fit at once."""
    config = Config(rows=8, cols=8, scratchpad_kib=8, accumulator_kib=8, sparsity=sparsity)
    m = GraphMaker(rows)
    found = products(check_graph(m.output(m.linear(m.input(rows, k), 50, kept=kept)), config))
    assert {f["w_format"] for f in found} == {4 - kept} and any(f["accumulate"] for f in found)
    assert {f["k_missing"] for f in found} >= {-(-k // 8) % (4 // kept) and 4 // kept - -(-k // 8) % (4 // kept)}


def test_memory_of_weights():
    config, rng = config_of("16x16"), np.random.default_rng(0)
    for kept, share in (2, 0.625), (1, 0.3125):
        channels = Channels(768, 768, 16), Channels(64, 64, 16)
        form = sparse_form(config, pruned(rng, 64, 768, kept), *channels)
        weights = SparseTiles(config, type("Op", (), {"compressed": form, "weight": np.zeros((64, 768))}), *channels)
        assert weights.packed.size == form.bytes == weights.bytes == share * 64 * 768
        assert weights.products == kept * 64 * 768 // 4


def test_layers_of_one_panel_stay_dense():
    m = GraphMaker(1)
    assert formats(check_graph(m.output(m.linear(m.input(3, 4), 9, kept=1)), config_of("4x4"))) == {0}


def test_tiles_of_zeros_cost_nothing():
    """Neither dense nor sparse: a layer whose tiles of zeros leave no pair of dense ones is dense without them, another sparse."""
    config, rng = config_of("4x4"), np.random.default_rng(0)
    weight, channels = pruned(rng, 16, 64, 2), (Channels(64, 64, 4), Channels(16, 16, 4))
    assert sparse_form(config, weight, *channels) is not None
    every_other, beginning = (np.arange(64) // 4 % 2 == 0), np.arange(64) < 16
    assert sparse_form(config, weight * every_other, *channels) is None
    assert sparse_form(config, weight * beginning, *channels) is not None
    for keep, w_format, most in (every_other, 0, 1), (beginning, 2, 2):
        m = GraphMaker(4)
        x = m.linear(m.input(50, 64), 16, kept=2)
        m.graph.ops[-1].weight[:, ~keep] = 0
        lowered = check_graph(m.output(x), config)
        assert formats(lowered) == {w_format} and all(f["k_tiles"] <= most for f in products(lowered))


@pytest.mark.parametrize("weights", ["1:4", "2:4"])
def test_results_leave_through_other_banks_than_the_operands(weights):
    """Nobody else reads a bank from which the rows of sparse tiles come in every cycle."""
    config = replace(Config.named("tiny"), sparsity=weights)
    bank = config.scratchpad_words // config.scratchpad_banks
    code = bytes(gemm(24, 64, 48, config, weights=weights)[0].image.code)
    decoded = [decode(code[at:at + 32]) for at in range(0, len(code), 32)]
    rows = {(fields["a_base"] + panel * fields["a_panel_stride"]) // bank for instruction, fields in decoded
            if instruction.mnemonic == "MATMUL" for panel in range(2 * fields["k_tiles"])}
    stores = {fields["spm_addr"] // bank for instruction, fields in decoded if instruction.mnemonic == "STORE"}
    assert stores and not rows & stores
