"""Weight tiles of zeros cost nothing: same results, fewer tiles stored and multiplied, dense layers unchanged."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from lowering_graphs import GraphMaker, check_graph, with_zeros

from weft import qgraph as qg
from weft.hw.config import Config
from weft.hw.isa import disassemble
from weft.lower import lower
from weft.lower.layout import Channels, tile_grid
from weft.lower.tile_parts import Part, parts_of
from weft.lower.weights import streamed_weights
from weft.lower.zero_tiles import KeptTiles, without_zero_tiles
from weft.performance import predict
from weft.workloads import zeroed

SHAPES = {"4x4": dict(rows=4, cols=4), "16x16": dict(rows=16, cols=16), "5x7": dict(rows=5, cols=7), "12x4": dict(rows=12, cols=4),
          "4x12": dict(rows=4, cols=12), "8x4 wide bus": dict(rows=8, cols=4, data_bytes=16)}
#: Groups of 4-bit weights that fit each of them.
GROUPS = {"4x4": 16, "16x16": 32, "5x7": 28, "12x4": 48, "4x12": 24, "8x4 wide bus": 16}


def streamed(config, op, inputs, outputs):
    return streamed_weights(config, op, 1, "int8")(config, op, inputs, outputs)


def graph_of(m, rows, k, n, group):
    x = m.input(rows, k)
    y = m.linear(x, n, "int16", group=group)
    small, wide = m.norm(y)
    z = m.linear(m.linear(small, 50, table=True), n, "int16", residual=wide)
    return m.output(m.linear(m.norm(z, two=False), 33, group=group), m.linear(x, 21, "uint8"))


@given(shape=st.sampled_from(list(SHAPES)), rows=st.integers(1, 40), k=st.integers(1, 90), n=st.integers(1, 70),
       share=st.sampled_from([0.1, 0.5, 0.9, 1.0]), four_bit=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_any_zeros_change_no_result(shape, rows, k, n, share, four_bit, seed):
    config = Config(**SHAPES[shape], four_bit=four_bit)
    graph = graph_of(GraphMaker(seed), rows, k, n, GROUPS[shape] if four_bit else None)
    check_graph(with_zeros(graph, config, share, seed), config)


#: Configurations with sparse and with circulant weights, and the layers' options.
FORMATS = {
    "2:4": (dict(rows=8, cols=8, sparsity="2:4"), dict(kept=2)), "1:4": (dict(rows=16, cols=16, sparsity="1:4"), dict(kept=1)),
    "2:4, rows > cols": (dict(rows=8, cols=4, sparsity="2:4"), dict(kept=2)),
    "circulant": (dict(rows=8, cols=8, circulant=(4,)), dict(block=4)),
    "circulant, rows < cols": (dict(rows=4, cols=12, circulant=(4,)), dict(block=4)),
    "circulant, rows > cols": (dict(rows=16, cols=8, circulant=(4, 8)), dict(block=8)),
}


@given(kind=st.sampled_from(list(FORMATS)), rows=st.integers(1, 40), k=st.integers(1, 15), n=st.integers(1, 12),
       share=st.sampled_from([0.1, 0.5, 0.9, 1.0]), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_zeros_of_compressed_layers(kind, rows, k, n, share, seed):
    options, form = FORMATS[kind]
    config, m = Config(**options), GraphMaker(seed)
    x = m.input(rows, 8 * k, "uint8" if seed % 2 else "int8")
    y = m.linear(x, 8 * n, "int16", **form)
    z = m.linear(m.linear(x, 8 * n, table=True, **form), 8 * n, "int16", residual=y, **form)
    graph = with_zeros(m.output(z, m.linear(x, 24, "uint8", **form)), config, share, seed, 4 // form.get("kept", 4))
    check_graph(graph, config)


@given(shape=st.sampled_from(list(SHAPES)), k=st.integers(1, 90), n=st.integers(1, 70), share=st.floats(0.05, 1),
       gap=st.integers(0, 2), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_blocks_cover_each_nonzero_tile_once(shape, k, n, share, gap, seed):
    config, m = Config(**SHAPES[shape]), GraphMaker(seed)
    graph = with_zeros(m.output(m.linear(m.input(1, k), n)), config, share, seed)
    inputs, outputs = Channels(k, k, config.panel), Channels(n, n, config.panel)
    weights = streamed(config, graph.ops[1], inputs, outputs)
    nonzero = tile_grid(config, graph.ops[1].weight, inputs, outputs)
    kept = KeptTiles(parts_of(weights), nonzero, gap)
    covered, words = np.zeros(nonzero.shape, int), 0
    for block in kept.blocks:
        [part] = block.products
        covered[part.n0:part.n1, part.k0:part.k1] += 1
        assert block.part == part and block.first == words and block.accumulate == bool(covered[part.n0, :part.k0].any())
        words += part.tiles * weights.tile_words
    assert covered.max(initial=0) <= 1 and covered[nonzero].all() and words * config.word_bytes == len(kept.packed)
    assert gap or (covered == nonzero).all()
    # An N tile without weights is in a panel without any, or its results are constant.
    empty = kept.zero_panels.repeat(config.tiles_per_panel) | kept.constant_tiles
    np.testing.assert_array_equal(empty, ~covered.any(1))
    assert np.count_nonzero(graph.ops[1].weight) <= kept.products <= graph.ops[1].weight.size


def layer(rows, k, n, zero, config, panels=1, **options):
    """A graph of one layer whose tiles, of ``panels`` times ``config.rows`` inputs, are zero where ``zero`` says."""
    m = GraphMaker(0)
    graph = m.output(m.linear(m.input(rows, k), n, **options))
    return replace(graph, ops=[zeroed(op, zero, config.cols, panels * config.rows) if isinstance(op, qg.Linear) else op
                               for op in graph.ops])


@pytest.mark.parametrize("options, form, panels", [
    (dict(rows=16, cols=16), {}, 1), (dict(rows=16, cols=16, four_bit=True), dict(group=32), 1),
    (dict(rows=8, cols=16), {}, 1), (dict(rows=8, cols=16, four_bit=True), dict(group=32), 1), (dict(rows=32, cols=16), {}, 1),
    (dict(rows=16, cols=16, sparsity="2:4"), dict(kept=2), 2), (dict(rows=8, cols=16, circulant=(8,)), dict(block=8), 1)])
def test_cycles_and_memory_follow_the_tiles(options, form, panels):
    """Any tile of zeros, whatever else its panel holds."""
    config = Config(**options)
    zero = np.random.default_rng(0).random((192 // config.cols, 192 // (panels * config.rows))) < 0.5
    dense, sparse = (lower(layer(128, 192, 192, z, config, panels, **form), config) for z in (zero & False, zero))
    share = 1 - zero.mean()
    assert predict(sparse.image).cycles < (share + 0.1) * predict(dense.image).cycles
    stored = dense.compulsory_bytes - 2 * 128 * 192
    assert abs(sparse.compulsory_bytes - 2 * 128 * 192 - share * stored) <= 1
    # A word of generators is a whole panel, of tiles of zeros, too.
    memory = [lowered.image.constant.size - lowered.image.code.nbytes for lowered in (dense, sparse)]
    assert memory[1] < (1 if "block" in form else 0.75) * memory[0]


def test_runs_of_circulant_tiles_share_words():
    """A word of generators is a whole panel."""
    config = Config(rows=4, cols=64, circulant=(4,))
    zero = np.indices((4, 96)).sum(0) % 2 == 1
    graph = layer(16, 384, 256, zero, config, block=4)
    channels = Channels(384, 384, 64), Channels(256, 256, 64)
    kept = without_zero_tiles(streamed(config, graph.ops[1], *channels), 16)
    assert kept.words == kept.weights.panel_words * 4 * 6 and sum(len(block.products) for block in kept.blocks) == 4 * 48
    check_graph(graph, config)


def test_equal_tiles_share_products():
    """Two halves that read different inputs: one product for each half, whatever its number of tiles."""
    config = Config(rows=8, cols=8)
    zero = np.kron(np.eye(2, dtype=bool), np.ones((4, 4), bool))
    op, channels = layer(20, 64, 64, zero, config).ops[1], Channels(64, 64, 8)
    kept = without_zero_tiles(streamed(config, op, channels, channels), 20)
    assert [block.part for block in kept.blocks] == [Part(0, 4, 4, 8), Part(4, 8, 0, 4)]
    check_graph(layer(20, 64, 64, zero, config), config)


def test_outputs_without_weights_have_no_product():
    config = Config(rows=8, cols=8)
    lowered = check_graph(layer(20, 40, 48, np.ones((6, 5), bool), config), config)
    assert not any(" MATMUL " in line for line in disassemble(lowered.image.code))
    assert lowered.compulsory_bytes == 20 * 40 + 20 * 48


def test_nothing_is_left_out_that_saves_nothing():
    """On a narrow bus an instruction takes as long as several small tiles."""
    config = Config(rows=4, cols=4)
    zero = np.kron(np.ones((8, 8), bool), np.array([[1, 0], [0, 1]], bool))
    op = layer(1, 64, 64, zero, config).ops[1]
    weights = streamed(config, op, Channels(64, 64, 4), Channels(64, 64, 4))
    assert without_zero_tiles(weights, 1) is weights
    assert isinstance(without_zero_tiles(weights, 64), KeptTiles)


@pytest.mark.parametrize("group", [None, 28])
def test_padding_and_single_zeros_change_nothing(group):
    config, m = Config(rows=5, cols=7, four_bit=True), GraphMaker(0)
    op = m.output(m.linear(m.input(3, 36), 10, group=group)).ops[1]
    op.weight[::2] = 0
    weights = streamed(config, op, Channels(36, 36, 7), Channels(10, 10, 7))
    assert without_zero_tiles(weights, 3) is weights
