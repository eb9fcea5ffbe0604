"""Structure of weights survives quantization: circulant blocks, zeros, 4-bit groups, next to each other in one model."""

import numpy as np
import pytest
import torch
from torch import nn

import weft
from weft import CompileError, WeftWarning
from weft import qgraph as qg
from weft.frontend import import_model
from weft.nn import BlockCirculantLinear
from weft.quantize import QuantOptions, quantize
from weft.weights import CirculantWeights, GroupedWeights, pattern_of


class Block(nn.Module):
    """A transformer layer; ``linear(name, inputs, outputs)`` makes its layers."""

    def __init__(self, linear, width=32, inner=64, heads=4):
        super().__init__()
        torch.manual_seed(0)
        self.heads = heads
        for name in ("q", "k", "v", "o"):
            setattr(self, name, linear(name, width, width))
        self.up, self.down = linear("up", width, inner), linear("down", inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        with torch.no_grad():       # outlier channels, which migration wants to scale one by one
            self.norms[0].weight[3], self.norms[1].weight[5] = 9, 12

    def forward(self, x):
        y = self.norms[0](x)
        q, k, v = (layer(y).unflatten(-1, (self.heads, -1)).transpose(-2, -3) for layer in (self.q, self.k, self.v))
        x = x + self.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))
        return x + self.down(nn.functional.gelu(self.up(self.norms[1](x))))


def plain(name, inputs, outputs):
    return nn.Linear(inputs, outputs)


BATCHES = [((torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(i)),), {}) for i in range(4)]


def quantized(model, wide_block=0, **options):
    graph = quantize(import_model(model.eval(), *BATCHES[0]), BATCHES, QuantOptions(**options), 4, wide_block)
    return graph, {op.origin.module: op for op in graph.ops if isinstance(op, qg.Linear)}


def snr(graph, model):
    """Signal to noise in dB of the quantized graph against the model."""
    args, kwargs = BATCHES[1]
    tensors, state = graph.host.prepare(args, kwargs)
    got = graph.host.finish(graph.run(tensors), state)[0]
    with torch.no_grad():
        wanted = model(*args).numpy()
    return 10 * np.log10((wanted**2).mean() / ((got - wanted) ** 2).mean())


@pytest.mark.parametrize("block, heads", [(8, 4), (16, 4), (4, 2)])     # 16: wider than a head of 8
def test_circulant_layers_stay_circulant(block, heads):
    model = Block(lambda name, k, n: BlockCirculantLinear(k, n, block), heads=heads)
    graph, layers = quantized(model)
    for op in layers.values():
        assert isinstance(op.compressed, CirculantWeights) and op.compressed.block == block
        assert np.array_equal(op.compressed.expand(), op.weight) and op.compressed.generators.dtype == np.int8
    assert snr(graph, model) > 27


def test_a_dense_layer_beside_a_circulant_one_changes_nothing():
    model = Block(lambda name, k, n: BlockCirculantLinear(k, n, 8) if name in ("q", "o") else nn.Linear(k, n))
    graph, layers = quantized(model)
    assert [name for name, op in layers.items() if op.compressed is not None] == ["q", "o"]
    assert snr(graph, model) > 27


def test_wide_neurons_move_in_blocks():
    model = Block(lambda name, k, n: BlockCirculantLinear(k, n, 8) if name in ("up", "down") else nn.Linear(k, n))
    with torch.no_grad():
        model.up.bias[20] = 40                      # one neuron with a large result
    graph, layers = quantized(model, wide_block=4)
    assert layers["up"].wide == 8
    assert all(np.array_equal(layers[name].compressed.expand(), layers[name].weight) for name in ("up", "down"))
    assert snr(graph, model) > 27


@pytest.mark.parametrize("wide_block", [0, 2])
def test_pruned_layers_stay_sparse(wide_block):
    model = weft.sparsify(Block(plain).eval(), "2:4", calibration=BATCHES)
    with torch.no_grad():
        model.up.bias[21] = 40
    graph, layers = quantized(model, wide_block)
    assert [pattern_of(op.weight).name for op in layers.values()] == ["2:4"] * 6
    assert bool(layers["up"].wide) == bool(wide_block) and snr(graph, model) > 27


def test_formats_by_module_path():
    model = Block(plain)
    graph, layers = quantized(model, layers={"up": "w4g16", "down": "w4g32"})
    groups = {name: op.compressed.group for name, op in layers.items() if op.compressed is not None}
    assert groups == {"up": 16, "down": 32}
    for name in groups:
        assert isinstance(layers[name].compressed, GroupedWeights)
        assert np.array_equal(layers[name].compressed.expand(), layers[name].weight)
    eight = quantized(model)[0]
    assert 15 < snr(graph, model) < snr(eight, model)


def test_four_bits_for_all_layers_but_the_circulant():
    model = Block(lambda name, k, n: BlockCirculantLinear(k, n, 8) if name == "up" else nn.Linear(k, n))
    _, layers = quantized(model, weights="w4g32")
    assert {name: type(op.compressed) for name, op in layers.items()} == {
        name: CirculantWeights if name == "up" else GroupedWeights for name in layers}


@pytest.mark.parametrize("name", ["w4g15", "w4g129", "w4g", "w4g32x", "w5g32"])
def test_unknown_formats_are_refused(name):
    with pytest.raises(CompileError, match=f"'w4gN' with groups of N = 16 to 128 inputs, not '{name}'"):
        QuantOptions.of(name)


def test_mixed_layers_run_on_the_golden_model():
    def linear(name, inputs, outputs):
        return BlockCirculantLinear(inputs, outputs, 8) if name in ("q", "k") else nn.Linear(inputs, outputs)

    model = weft.sparsify(Block(linear).eval(), "1:4", calibration=BATCHES, modules="up")
    with pytest.warns(WeftWarning) as told:
        program = weft.compile(model, *BATCHES[0], config=weft.Config(rows=4, cols=4, four_bit=True), calibration=BATCHES,
                               quantization={"down": "w4g16"})
    assert [str(w.message).split(" are stored")[0] for w in told] == ["circulant:8 weights in q, k", "1:4 weights in up"]
    args, kwargs = BATCHES[1]
    with torch.no_grad():
        wanted = model(*args).numpy()
    got = program.run(args, kwargs, backend="golden").outputs[0]
    assert ((got - wanted) ** 2).mean() < 0.005 * (wanted**2).mean()
