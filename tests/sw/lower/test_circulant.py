"""Circulant weights: which layers stay compressed, and programs with layers of several kinds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from lowering_graphs import GraphMaker, check_graph

from weft import qgraph as qg
from weft.hw.config import Config
from weft.hw.errors import WeftWarning
from weft.hw.isa import disassemble
from weft.lower.circulant import TurnedRows, TurnedWeights, circulant_refusal, circulant_weights
from weft.lower.layout import Channels
from weft.weights import CirculantWeights

#: Rows and columns of the array, blocks that it takes.
SHAPES = {"4x4": (4, 4, (4,)), "16x16": (16, 16, (4, 8, 16)), "12x4": (12, 4, (4,)), "4x12": (4, 12, (4,)),
          "8x12": (8, 12, (4,)), "8x32": (8, 32, (4, 8)), "32x16": (32, 16, (8, 16))}


def config_of(shape, **more):
    rows, cols, circulant = SHAPES[shape]
    return Config(rows=rows, cols=cols, circulant=circulant, **more)


def products(lowered):
    """``(mnemonic, w_single?)`` of each product."""
    lines = [line.split() for line in disassemble(lowered.image.code) if " MATMUL" in line]
    return {(next(word for word in line if word.startswith("MATMUL")), "w_single=1" in line) for line in lines}


@given(shape=st.sampled_from(list(SHAPES)), rows=st.integers(1, 20), blocks_in=st.integers(1, 12), blocks_out=st.integers(1, 9),
       dtype=st.sampled_from(["int8", "uint8"]), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=30, deadline=None)
def test_layers_of_any_size(shape, rows, blocks_in, blocks_out, dtype, seed, data):
    """A circulant layer equals the dense one of the same weights, whichever operand is turned."""
    config = config_of(shape)
    block = data.draw(st.sampled_from(config.circulant))
    m = GraphMaker(seed)
    x = m.input(rows, blocks_in * block, dtype)
    lowered = check_graph(m.output(m.linear(x, blocks_out * block, block=block)), config)
    assert {name for name, _ in products(lowered)} == {"MATMUL_C"}


def test_mixed_layers():
    """Circulant layers of several sizes, 4-bit and dense ones in one program, tensors in heads among them."""
    config = config_of("16x16", four_bit=True)
    for rows in (1, 20):
        m = GraphMaker(3)
        x = m.linear(m.input(rows, 96), 64, block=8)
        q, kv = m.linear(x, 64, block=16), m.linear(x, 64, group=32)
        a = m.attention(q, kv, kv, 8, block=16)
        graph = m.output(m.linear(a, 40, "int16", block=4), m.linear(m.linear(x, 48, "uint8", block=16), 5))
        lowered = check_graph(graph, config)
        assert products(lowered) >= {("MATMUL_C", rows == 1), ("MATMUL", False)}
        plain = check_graph(graph, replace(config, circulant=()))
        assert not any(name == "MATMUL_C" for name, _ in products(plain))
        assert lowered.compulsory_bytes < plain.compulsory_bytes


def test_pieces():
    """Layers whose weights come in pieces of inputs and outputs, with rows that do not fit at once, and with a residual."""
    config = Config(rows=8, cols=8, scratchpad_kib=8, accumulator_kib=8, circulant=(4,))
    for rows in (1, 20):
        m = GraphMaker(rows)
        x = m.input(rows, 400)
        y = m.linear(x, 160, "int16", block=4)
        lowered = check_graph(m.output(m.linear(x, 160, "int16", block=4, residual=y), m.linear(x, 48, table=True, block=4)),
                              config)
        assert products(lowered) == {("MATMUL_C", rows < 4)}
        assert any("accumulate=1" in line for line in disassemble(lowered.image.code))


def test_memory_of_weights():
    for block in (4, 8, 16):
        config, rng = config_of("16x16"), np.random.default_rng(0)
        form = CirculantWeights(rng.integers(-127, 128, (64 // block, 768 // block, block)).astype(np.int8))
        op = type("Op", (), {"compressed": form})
        for kind in (TurnedRows, TurnedWeights):
            assert kind(config, op, Channels(768, 768, 16), Channels(64, 64, 16)).packed.size == form.bytes == 64 * 768 // block


def test_which_operand_is_turned():
    config = config_of("16x16")
    m = GraphMaker()
    m.linear(m.input(1, 64), 256, block=8)
    op = m.graph.ops[-1]
    assert [circulant_weights(config, op, rows, "int8") for rows in (1, 7, 8, 50)] == [TurnedRows] * 2 + [TurnedWeights] * 2
    m.linear(m.input(1, 64), 64, block=8)
    short = m.graph.ops[-1]             # four N tiles, while the next tile's sixteen columns load
    assert [circulant_weights(config, short, rows, "int8") for rows in (1, 2)] == [TurnedRows, TurnedWeights]
    # Bytes that count less 128 need a bias that fits int32.
    extreme = replace(op, rescale=replace(op.rescale, bias=np.full(256, 2**31 - 1, np.int32)))
    kinds = {circulant_weights(config, extreme, 1, dtype) for dtype in ("int8", "uint8")}
    assert kinds == {TurnedRows, TurnedWeights}


@pytest.mark.parametrize("block, inputs, fits", [
    (8, (64, 64), True), (16, (64, 64), True), (16, (72, 24), False), (8, (72, 24), True), (4, (36, 12), True),
    (8, (36, 12), False)])
def test_blocks_that_channels_keep(block, inputs, fits):
    form = CirculantWeights(np.zeros((4, inputs[0] // block, block), np.int8))
    channels = Channels(*inputs, 16), Channels(4 * block, 4 * block, 16)
    refusal = circulant_refusal(config_of("16x16"), form, *channels)
    assert refusal == (None if fits else f"circulant blocks of {block} reach across heads of {inputs[1]} features")
    refusal = circulant_refusal(Config(rows=16, cols=16), form, *channels)
    assert refusal == "the configuration is without circulant"


def test_layers_that_are_expanded_are_named():
    m = GraphMaker(2)
    x = m.linear(m.input(3, 32), 24, block=8)
    q, k, v = m.linear(x, 24, block=4), m.linear(x, 24, block=8), m.linear(x, 24, block=12)
    graph = m.output(m.attention(q, k, v, 6, block=16))
    for number, op in enumerate(op for op in graph.ops if isinstance(op, qg.Linear)):
        object.__setattr__(op, "origin", qg.Origin(node="linear", module=f"layers.{number}", macs=1))
    with pytest.warns(WeftWarning) as told:
        check_graph(graph, config_of("16x16"))
    assert [str(warning.message) for warning in told] == [
        "circulant:8 weights in layers.2 are stored as int8: circulant blocks of 8 reach across heads of 4 features",
        "circulant:12 weights in layers.3 are stored as int8: the configuration's circulant has blocks of 4, 8, 16, not of 12"]
