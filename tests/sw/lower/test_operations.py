"""Every operation on configurations of many shapes: golden model on the encoded program equals the quantized graph."""

import pytest
from lowering_graphs import GraphMaker, check_graph, golden_outputs, random_inputs

from weft import qgraph as qg
from weft.hw.config import Config
from weft.hw.errors import CompileError
from weft.lower import lower

CONFIGS = {
    "tiny": Config.named("tiny"),
    "base": Config.named("base"),
    "5x7": Config(rows=5, cols=7),
    "4x8": Config(rows=4, cols=8),
    "8x12": Config(rows=8, cols=12),
    "16x4": Config(rows=16, cols=4),
    "4x16 two lanes": Config(rows=4, cols=16, vector_lanes=2),
    "4x4 wide bus": Config(rows=4, cols=4, data_bytes=8),
}


@pytest.fixture(params=CONFIGS, scope="module")
def config(request):
    return CONFIGS[request.param]


def block(config):
    return max(config.panel, min(config.key_block, 32) // config.panel * config.panel)


@pytest.mark.parametrize("rows, k, n", [(1, 33, 17), (3, 10, 9), (32, 64, 48), (50, 150, 70)])
def test_linear(config, rows, k, n):
    m = GraphMaker(rows)
    check_graph(m.output(m.linear(m.input(rows, k), n)), config)


def test_linear_with_table_residual_and_unsigned_operand(config):
    m = GraphMaker(1)
    x = m.input(9, 30)
    y = m.linear(x, 24, "int16")
    z = m.linear(m.linear(x, 17, table=True), 19, "uint8")
    check_graph(m.output(m.linear(z, 24, "int16", residual=y)), config)


def test_linear_with_two_tables(config):
    m = GraphMaker(1)
    n = 7 * config.panel + 1
    x = m.linear(m.input(9, 30), n, table=True, wide=3 * config.panel)
    y = m.linear(x, n, table=True, wide=config.panel)
    check_graph(m.output(x, m.linear(y, 10, table=True)), config)


@pytest.mark.parametrize("kind, two", [("layer", True), ("rms", False)])
def test_norm(config, kind, two):
    m = GraphMaker(2)
    x = m.input(13, 30, "int16")
    outputs = m.norm(x, kind, two)
    first = outputs[0] if two else outputs
    check_graph(m.output(m.linear(first, 20), *(outputs if two else (outputs,))), config)


def test_embed_and_add(config):
    m = GraphMaker(3)
    ids = m.input(7, 1, "int32")
    check_graph(m.output(m.add(m.embed(ids, 30), m.constant(7, 30))), config)


def test_embed_of_more_rows_than_index_entries():
    m = GraphMaker(3)
    ids = m.input(41, 1, "int32")
    check_graph(m.output(m.embed(ids, 10)), Config(rows=4, cols=4, index_entries=16))


def test_constant_ids_are_gathered_at_compile_time():
    m = GraphMaker(3)
    ids = m.input(5, 1, "int32")
    positions = m._tensor(5, 1, "int32")
    m.graph.ops.append(qg.Constant(out=positions, values=m.rng.integers(0, 50, (5, 1)).astype("int32")))
    lowered = check_graph(m.output(m.add(m.embed(ids, 12), m.embed(positions, 12))), CONFIGS["tiny"])
    assert [t.name for t in lowered.inputs] == [ids]


@pytest.mark.parametrize("batch, q_len, k_len, heads, kv_heads, dim, mask, causal", [
    (1, 10, 10, 3, 3, 6, None, False),
    (3, 5, 5, 2, 2, 9, "key", False),
    (2, 7, 7, 2, 2, 4, "query", False),
    (1, 20, 20, 2, 2, 8, None, True),
    (2, 9, 9, 4, 2, 8, "constant", True),
    (1, 3, 40, 2, 2, 8, None, True),
    (1, 70, 70, 1, 1, 16, "key", False),
    (1, 1, 1, 1, 1, 4, None, False),
])
def test_attention(config, batch, q_len, k_len, heads, kv_heads, dim, mask, causal):
    m = GraphMaker(4)
    q, k, v = (m.input(batch * n, h * dim) for n, h in ((q_len, heads), (k_len, kv_heads), (k_len, kv_heads)))
    visible = {None: lambda: None, "key": lambda: m.input(batch, k_len, "bool"),
               "query": lambda: m.input(batch * q_len, k_len, "bool"),
               "constant": lambda: m.constant(batch * q_len, k_len, "bool")}[mask]()
    check_graph(m.output(m.attention(q, k, v, heads, kv_heads, batch, visible, causal, block(config))), config)


def transformer_layer(rows=22, batch=2, hidden=24, heads=2, ffn=40, seed=5, config=None):
    """A whole layer in the shape of BERT."""
    m = GraphMaker(seed)
    x, r = m.norm(m.embed(m.input(rows, 1, "int32"), hidden))
    q, k, v = (m.linear(x, hidden) for _ in range(3))
    mask = m.input(batch, rows // batch, "bool")
    a = m.attention(q, k, v, heads, None, batch, mask, block=block(config))
    x, r = m.norm(m.linear(a, hidden, "int16", residual=r))
    h = m.linear(x, ffn, table=True)
    x, r = m.norm(m.linear(h, hidden, "int16", residual=r))
    return m.output(r, m.linear(m.select(x, [0, rows // batch]), 10))


def test_layer(config):
    check_graph(transformer_layer(config=config), config)


def test_layer_that_does_not_fit_the_scratchpad():
    config = CONFIGS["tiny"]
    graph = transformer_layer(rows=60, hidden=96, heads=3, ffn=200, config=config)
    lowered = check_graph(graph, config)
    assert any(b.kind == "work" for b in lowered.image.buffers), "nothing was spilled, so the test shows nothing"


def test_operand_that_no_row_of_fits():
    """A row of K that exceeds the scratchpad is multiplied piece by piece."""
    config = Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4)
    m = GraphMaker(6)
    check_graph(m.output(m.linear(m.input(3, 9000), 5)), config)


def test_rows_moved_and_requantized(config):
    m = GraphMaker(7)
    x = m.input(12, 30, "int16")
    y = m.requant(x)
    outputs = m.select(y, [0, 3, 6, 9, 2, 1]), m.select(x, [11, 5, 5]), m.requant(y, "uint8", table=True)
    check_graph(m.output(*outputs), config)


def test_one_tensor_in_two_head_widths():
    config = CONFIGS["base"]
    m = GraphMaker(8)
    x = m.input(6, 24)
    a, b = m.attention(x, x, x, 2, block=16), m.attention(x, x, x, 3, block=16)
    check_graph(m.output(a, b), config)


def test_inputs_change_results():
    """The comparison above would not notice programs that ignore their inputs if the graph did so too."""
    m = GraphMaker(9)
    graph = m.output(m.linear(m.input(4, 8), 6))
    lowered = lower(graph, CONFIGS["tiny"])
    first, second = (golden_outputs(lowered, random_inputs(graph, seed)) for seed in (1, 2))
    assert any((first[n] != second[n]).any() for n in first)


def test_norm_that_does_not_fit_is_refused():
    m = GraphMaker(10)
    graph = m.output(m.norm(m.input(2, 6000, "int16"), two=False))
    with pytest.raises(CompileError, match="8 KiB"):
        lower(graph, Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4))


def test_key_block_of_another_configuration_is_refused():
    m = GraphMaker(11)
    x = m.input(4, 8)
    with pytest.raises(CompileError, match="key blocks of 20 keys"):
        lower(m.output(m.attention(x, x, x, 1, block=20)), CONFIGS["base"])


def test_concatenation_of_resident_tensors_inputs_and_constants(config):
    m = GraphMaker(8)
    a, b = m.input(5, 20, "int16"), m.linear(m.input(7, 20), 20, dtype="int16")
    c = m.constant(2, 20)
    order = [12, 0, 1, 2, 5, 6, 7, 8, 13, 4, 3, 11, 9, 7, 12]
    check_graph(m.output(m.norm(m.concat([a, b, c], order), two=False)), config)
