"""Weight formats that a layer or a configuration does not take: refused where the layer is named, said where it is not."""

import warnings
from dataclasses import replace

import pytest
import torch
from lowering_graphs import GraphMaker, check_graph
from torch import nn

import weft
from weft import CompileError, WeftWarning
from weft import qgraph as qg
from weft.nn import BlockCirculantLinear, expanded
from weft.weights import CirculantWeights, GroupedWeights, SparseWeights
from weft.lower import prepare
from weft.frontend import import_model
from weft.quantize import QuantOptions, quantize

TALL = weft.Config(rows=64, cols=4, four_bit=True)
SMALL = weft.Config(rows=4, cols=4, four_bit=True)
PLAIN = weft.Config(rows=4, cols=4)
SPARSE = weft.Config(rows=4, cols=4, sparsity="1:4")
LESS_SPARSE = weft.Config(rows=4, cols=4, sparsity="2:4")
CIRCULANT = weft.Config(rows=16, cols=16, circulant=(4, 8))


def prepared(model, config, quantization):
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    graph = quantize(import_model(model, (x,)), [((x,), {})], QuantOptions.of(quantization))
    return prepare(graph, config)


def model(first=None):
    torch.manual_seed(0)
    return nn.Sequential(first or nn.Linear(32, 32), nn.Linear(32, 20)).eval()


@pytest.mark.parametrize("config, quantization, message", [
    (TALL, {"1": "w4g16"}, r"^1 \(linear_1\): w4g16 weights were chosen for this layer, but half of a tile of 64 rows has inputs "
                           r"of two groups of 16$"),
    (PLAIN, {"*": "w8", "1": {"weights": "w4g32"}}, r"^1 .*w4g32 .* but the configuration is without four_bit$"),
    (SMALL, {"1": "w4g17"}, r"^1 .*w4g17 .* a tile of 4 rows has inputs of two groups of 17$"),
])
def test_a_layer_that_is_named(config, quantization, message):
    with pytest.raises(CompileError, match=message):
        prepared(model(), config, quantization)


def test_a_circulant_layer_that_is_named():
    with pytest.raises(CompileError, match=r"^0 .*w4g32 .* but its weights are circulant blocks of 8, whose generators are int8"):
        prepared(model(BlockCirculantLinear(32, 32, 8)), SMALL, {"0": "w4g32"})


def pruned(pattern, *more):
    """A model with layers of that sparsity, and weights ``(layer, output, input)`` that are not zero besides."""
    made = weft.sparsify(model(), pattern, saliency="magnitude")
    with torch.no_grad():
        for layer, output, inputs in more:
            made[layer].weight[output, inputs] = 1
    return made


def circulant(block, outputs=32):
    return model(BlockCirculantLinear(32, outputs, block))


@pytest.mark.parametrize("made, config, name, reason", [
    (lambda: pruned("2:4", (0, 12, slice(28, 32))), SPARSE, "2:4",
     "output 12, inputs 28 to 31 hold 4 non-zero weights, 2:4 allows 2"),
    (lambda: pruned("2:4"), SPARSE, "1:4", "output 0, inputs 0 to 3 hold 2 non-zero weights, 1:4 allows 1"),
    (lambda: pruned("1:4"), LESS_SPARSE, "1:4", "the configuration's sparsity is 2:4"),
    (lambda: pruned("2:4"), PLAIN, "2:4", "the configuration is without sparsity"),
    (lambda: circulant(8), SPARSE, "2:4", "output 0, inputs 0 to 3 hold 4 non-zero weights, 2:4 allows 2"),
    (lambda: circulant(8), CIRCULANT, "circulant:4", "its weights are circulant blocks of 8"),
    (lambda: circulant(16), CIRCULANT, "circulant:16", "the configuration's circulant has blocks of 4, 8, not of 16"),
    (lambda: circulant(8), PLAIN, "circulant:8", "the configuration is without circulant"),
    (lambda: model(nn.Linear(32, 20)), CIRCULANT, "circulant:8", "its 32 inputs and 20 outputs cannot be cut into blocks of 8"),
])
def test_a_named_layer_without_the_structure_or_the_mode(made, config, name, reason):
    with pytest.raises(CompileError, match=rf"^0 \(.*linear\): {name} weights were chosen for this layer, but {reason}$"):
        prepared(made()[:1], config, {"0": name})


def test_a_layer_that_is_nearly_circulant():
    layer = expanded(circulant(8))
    with torch.no_grad():
        layer[0].weight[9, 19] += 2**-10
        twin = layer[0].weight[8, 18].item()
    assert abs(twin - layer[0].weight[9, 19].item()) > 0
    with pytest.raises(CompileError, match="its weights are not circulant: output 9 has .* for input 19, "
                                           rf"where {twin:.9g} of output 8 for input 18 should be repeated"):
        prepared(layer, CIRCULANT, {"0": "circulant:8"})


def test_a_layer_that_comes_quantized():
    x = torch.randn(3, 32)
    for name in ("circulant:8", "w4g32"):
        graph = import_model(circulant(8)[:1], (x,))
        graph.ops[-1].steps = torch.full((32,), 2.0**-9, dtype=torch.float64)
        with pytest.raises(CompileError, match=f"{name} weights were chosen .* but it comes quantized, "
                                               "with int8 weights of its own"):
            prepare(quantize(graph, [((x,), {})], QuantOptions.of({"0": name})), CIRCULANT)


def test_neighbours_in_padded_heads():
    """Heads of 6 features in panels of 4: what four inputs have, four channels need not have."""
    m = GraphMaker(5)
    x = m.linear(m.input(9, 24), 24)
    m.linear(m.attention(x, x, x, 4, block=16), 24, kept=2)
    op = m.graph.ops[-1]
    m.output(op.out)
    reason = ("heads of 6 inputs are padded to panels of 4 channels, and of output 0, channels [0-9]+ to [0-9]+ hold [34] non-zero "
              "weights, 2:4 allows 2")
    named = replace(op, chosen="2:4", named=True)
    with pytest.raises(CompileError, match=f"2:4 weights were chosen for this layer, but {reason}"):
        prepare(replace(m.graph, ops=[*m.graph.ops[:-1], named]), SPARSE)
    come = replace(op, origin=qg.Origin(module="last", macs=1))
    with pytest.warns(WeftWarning, match=f"^2:4 weights in last are stored as int8: {reason}"):
        prepare(replace(m.graph, ops=[*m.graph.ops[:-1], come]), SPARSE)


@pytest.mark.parametrize("made, config, quantization, kinds", [
    (lambda: pruned("2:4"), LESS_SPARSE, {"0": "2:4", "1": "2:4"}, [SparseWeights] * 2),
    (lambda: pruned("1:4"), SPARSE, {"0": "2:4", "1": "1:4"}, [SparseWeights] * 2),
    (lambda: circulant(8), CIRCULANT, {"0": "circulant:8"}, [CirculantWeights, type(None)]),
    (lambda: expanded(circulant(8)), CIRCULANT, {"0": "circulant:8"}, [CirculantWeights, type(None)]),
    (lambda: expanded(circulant(4)), CIRCULANT, None, [CirculantWeights, type(None)]),      # found, whoever made it
])
def test_what_is_as_chosen(made, config, quantization, kinds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = prepared(made(), config, quantization)
    layers = [op for op in graph.ops if isinstance(op, qg.Linear)]
    assert [type(op.compressed) for op in layers] == kinds
    for op in layers:
        if op.chosen == "2:4":      # also where the weights are 1:4
            assert op.compressed.values.shape[-1] == 2


def test_a_block_size_of_several():
    """Circulant blocks of 16 whose generators repeat are circulant blocks of 8."""
    made = circulant(16)
    with torch.no_grad():
        made[0].generators[..., 8:] = made[0].generators[..., :8]
    for name, block in (("w8", 16), ("circulant:8", 8)):
        graph = prepared(made, replace(CIRCULANT, circulant=(8, 16)), {"0": name})
        op = next(op for op in graph.ops if isinstance(op, qg.Linear))
        assert op.compressed.block == block and (op.compressed.expand() == op.weight).all()


@pytest.mark.parametrize("inputs, outputs, pattern, zeros", [
    (4, 9, "2:4", 0), (3, 5, "1:4", 0), (64, 16, "2:4", 48), (70, 9, "1:4", 0)])
def test_sparse_weights_that_are_chosen_whatever_they_save(inputs, outputs, pattern, zeros):
    m = GraphMaker(6)
    out = m.linear(m.input(5, inputs), outputs, kept=int(pattern[0]))
    m.graph.ops[-1].weight[:, :zeros] = 0
    m.graph.ops[-1] = replace(m.graph.ops[-1], chosen=pattern, named=True)
    m.output(out)
    assert isinstance(prepare(m.graph, SPARSE).ops[-1].compressed, SparseWeights)
    check_graph(m.graph, SPARSE)


@pytest.mark.parametrize("made, config, quantization, message", [
    (lambda: pruned("2:4"), PLAIN, None, "^2:4 weights in 0, 1 are stored as int8: the configuration is without sparsity$"),
    (lambda: pruned("1:4"), PLAIN, {"0": "w8"}, "^1:4 weights in 0, 1 are stored as int8: the configuration is without sparsity$"),
    (lambda: circulant(8), PLAIN, None, "^circulant:8 weights in 0 are stored as int8: the configuration is without circulant$"),
    (lambda: circulant(2), CIRCULANT, None,
     "^circulant:2 weights in 0 are stored as int8: the configuration's circulant has blocks of 4, 8, not of 2$"),
    (lambda: pruned("2:4"), PLAIN, "2:4", "^no 2:4 weights in 0, 1: the configuration is without sparsity$"),
    (model, SPARSE, {"*": "2:4"}, "^no 2:4 weights in 0, 1: output 0, inputs 0 to 3 hold 4 non-zero weights, 2:4 allows 2$"),
    (lambda: pruned("2:4", (0, 1, slice(0, 4)), (1, 2, slice(0, 4))), SPARSE, {"*": "2:4"},
     "^no 2:4 weights in 0, 1: in 0, output 1, inputs 0 to 3 hold 4 non-zero weights, 2:4 allows 2$"),
    (lambda: circulant(8), CIRCULANT, "circulant:8", "^no circulant:8 weights in 1: its 32 inputs and 20 outputs cannot be cut"),
])
def test_what_is_told(made, config, quantization, message):
    """One warning, whether the layers were chosen by a pattern or come so."""
    with pytest.warns(WeftWarning, match=message) as told:
        prepared(made(), config, quantization)
    assert len(told) == 1


@pytest.mark.parametrize("config, quantization, message", [
    (TALL, {"*": "w4g16"}, "^no w4g16 weights in 0, 1: half of a tile of 64 rows has inputs of two groups of 16$"),
    (PLAIN, "w4g32", "^no w4g32 weights in 0, 1: the configuration is without four_bit$"),
    (PLAIN, {"1": {"calibration": "minmax"}, "[1]": "w4g32"}, "^no w4g32 weights in 1: the configuration"),
    (PLAIN, {"1": "w4g16", "*": "w4g32"}, "^no w4g32 weights in 0, 1: "),
])
def test_layers_that_a_pattern_chose_are_listed(config, quantization, message):
    with pytest.warns(WeftWarning, match=message):
        graph = prepared(model(), config, quantization)
    assert all(getattr(op, "compressed", None) is None for op in graph.ops)


def test_many_layers_are_counted():
    deep = nn.Sequential(*(nn.Linear(32, 32) for _ in range(11))).eval()
    with pytest.warns(WeftWarning, match="in 0, 1, 2, 3, 4, 5, 6, 7 and 3 more: "):
        prepared(deep, PLAIN, "w4g32")


def test_what_fits_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = prepared(model(), SMALL, {"*": "w8", "1": "w4g32"})
        prepared(model(), PLAIN, None)
    assert [type(op.compressed) for op in graph.ops if hasattr(op, "compressed")] == [type(None), GroupedWeights]
