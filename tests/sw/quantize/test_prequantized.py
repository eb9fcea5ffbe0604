"""Models that come quantized: their integers and scales are kept, whatever layer they meet, and odd ones are refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers torch.ops.quantized_decomposed

import weft
from weft import CompileError
from weft import qgraph as qg
from weft.frontend import import_model
from weft.quantize import quantize

ops = torch.ops.quantized_decomposed


class Quantized(nn.Module):
    """A linear layer as convert_pt2e writes it: int8 weights, one scale an output channel, and its input's pair."""

    def __init__(self, inputs, outputs, least, most, dtype=torch.int8):
        super().__init__()
        weight = torch.randn(outputs, inputs)
        low, high = (0, 255) if dtype == torch.uint8 else (-128, 127)
        self.step = (most - least) / 255
        self.zero, self.limits, self.dtype = round(low - least / self.step), (low, high), dtype
        scale = weight.abs().amax(1) / 100     # trained: not what calibration would choose
        self.register_buffer("integers", torch.round(weight / scale[:, None]).to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("zeros", torch.zeros(outputs, dtype=torch.int64))
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3)

    def pair(self, x):
        form = (self.step, self.zero, *self.limits, self.dtype)
        return ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *form), *form)

    def forward(self, x):
        weight = ops.dequantize_per_channel(self.integers, self.scale, self.zeros, 0, -127, 127, torch.int8)
        return nn.functional.linear(self.pair(x), weight, self.bias)


class Block(nn.Module):
    """Quantized layers behind a norm, an attention, a residual addition, a GELU, a ReLU and a view."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(8)
        self.qkv, self.out = Quantized(8, 24, -3, 3), Quantized(8, 8, -4, 4)
        self.up, self.down = Quantized(8, 16, -20, 20), Quantized(16, 8, -0.2, 8)
        self.wide, self.last = Quantized(8, 16, -20, 20, torch.uint8), Quantized(16, 4, 0, 80)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).view(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.out(y.reshape(x.shape))
        x = x + self.down(nn.functional.gelu(self.up(x) / 8))
        return self.last(torch.relu(self.wide(x)))


def quantized(model, x):
    return quantize(import_model(model, (x,)), [((x,), {})], None, 4, 4)


def run(graph, x):
    tensors, state = graph.host.prepare((x,))
    return graph.host.finish(graph.run(tensors), state)[0]


def snr(got, wanted):
    return 10 * np.log10((wanted**2).sum() / ((got - wanted) ** 2).sum())


def test_integers_and_scales_are_kept():
    model, x = Block().eval(), torch.randn(1, 6, 8)
    graph = quantized(model, x)
    seen = {}
    for op in graph.ops:
        if isinstance(op, qg.Linear):
            seen.setdefault(op.origin.module, []).append(op)
    for name, layers in seen.items():
        layer, form = getattr(model, name), graph.tensors[layers[0].x]
        np.testing.assert_array_equal(np.concatenate([op.weight for op in layers]), layer.integers.numpy())
        assert form.dtype == "int8" and form.scale.tolist() == [layer.step]
        assert form.zero == layer.zero - (128 if layer.dtype == torch.uint8 else 0)
    assert set(seen) == {"qkv", "out", "up", "down", "wide", "last"}
    relu = next(op for op in graph.ops if isinstance(op, qg.Linear) and op.origin.module == "wide")
    assert relu.table is None and relu.rescale.zero == -128
    with torch.no_grad():
        wanted = model(x).numpy()
    assert snr(run(graph, x), wanted) > 26      # the ranges are coarse


def test_the_program_computes_what_the_graph_says():
    model, x = Block().eval(), torch.randn(1, 6, 8)
    config = weft.Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4)
    graph = quantize(import_model(model, (x,)), [((x,), {})], None, config.key_block, config.panel)
    got = weft.compile(model, (x,), config=config).run((x,)).outputs[0]
    np.testing.assert_array_equal(got, run(graph, x))


@pytest.mark.parametrize("zero, requants", [(0, 0), (3, 1)])
def test_a_result_of_attention_with_a_zero_point_is_rounded_twice(zero, requants):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(6)
            self.qkv, self.out = nn.Linear(8, 24), Quantized(8, 8, -1.5, 1.5)
            self.out.zero = zero

        def forward(self, x):
            q, k, v = self.qkv(x).view(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).reshape(x.shape))

    model, x = Model().eval(), torch.randn(1, 6, 8)
    graph = quantized(model, x)
    assert sum(isinstance(op, qg.Requant) for op in graph.ops) == requants
    form = graph.tensors[next(op.x for op in graph.ops if isinstance(op, qg.Linear) and op.origin.module == "out")]
    assert (form.scale.tolist(), form.zero) == ([model.out.step], zero)
    with torch.no_grad():
        assert snr(run(graph, x), model(x).numpy()) > 30


def test_a_layer_without_a_prescribed_input_keeps_its_integers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.norm, self.layer = nn.LayerNorm(8), Quantized(8, 6, -1, 1)
            self.layer.pair = lambda x: x
            with torch.no_grad():
                self.norm.weight[3] = 20.0

        def forward(self, x):
            return self.layer(self.norm(x))

    model, x = Model().eval(), torch.randn(5, 8)
    graph = quantized(model, x)
    layer = next(op for op in graph.ops if isinstance(op, qg.Linear))
    assert len(set(graph.tensors[layer.x].scale)) == 1
    np.testing.assert_array_equal(layer.weight, model.layer.integers.numpy())


def test_layers_with_unequal_forms_of_one_input():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            self.norm, self.plain = nn.LayerNorm(8), nn.Linear(8, 4)
            self.a, self.b = Quantized(8, 4, -3, 3), Quantized(8, 4, -2, 4)

        def forward(self, x):
            x = self.norm(x)
            return self.a(x) + self.b(x) + self.plain(x)

    model, x = Model().eval(), torch.randn(5, 8)
    graph = quantized(model, x)
    forms = {op.origin.module: graph.tensors[op.x] for op in graph.ops if isinstance(op, qg.Linear)}
    assert (forms["a"].scale[0], forms["a"].zero) == (model.a.step, model.a.zero)
    assert (forms["b"].scale[0], forms["b"].zero) == (model.b.step, model.b.zero)
    assert len(set(forms["plain"].scale)) > 1
    with torch.no_grad():
        assert snr(run(graph, x), model(x).numpy()) > 30


def test_weights_that_are_not_symmetric_are_quantized_anew():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.layer = Quantized(8, 4, -3, 3)
            self.layer.zeros += 5

        def forward(self, x):
            return self.layer(x)

    model, x = Model().eval(), torch.randn(5, 8)
    graph = quantized(model, x)
    layer = next(op for op in graph.ops if isinstance(op, qg.Linear))
    assert not np.array_equal(layer.weight, model.layer.integers.numpy())
    with torch.no_grad():
        assert snr(run(graph, x), model(x).numpy()) > 30


def test_a_quantized_convolution_keeps_its_integers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(4)
            self.layer = Quantized(4, 6, -3, 3)

        def forward(self, x):
            weight = ops.dequantize_per_channel(self.layer.integers.view(6, 1, 2, 2), self.layer.scale, self.layer.zeros, 0,
                                                -127, 127, torch.int8)
            return nn.functional.conv2d(self.layer.pair(x), weight, self.layer.bias, stride=2)

    model, x = Model().eval(), torch.randn(1, 1, 4, 4)
    graph = quantized(model, x)
    layer = next(op for op in graph.ops if isinstance(op, qg.Linear))
    np.testing.assert_array_equal(layer.weight, model.layer.integers.numpy())
    assert graph.tensors[layer.x].scale.tolist() == [model.layer.step]


@pytest.mark.parametrize("kind, message", [("int16", "quantized to -32768 .. 32767 is not supported; 8 bits are"),
                                           ("channels", "quantized per channel is not supported"),
                                           ("unequal", "dequantized with another scale")])
def test_forms_that_the_accelerator_lacks_are_refused(kind, message):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            match kind:
                case "int16":
                    form = (0.01, 0, -32768, 32767, torch.int16)
                    x = ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *form), *form)
                case "channels":
                    form = (torch.ones(8), torch.zeros(8, dtype=torch.int64), 1, -128, 127, torch.int8)
                    x = ops.dequantize_per_channel(ops.quantize_per_channel(x, *form), *form)
                case "unequal":
                    x = ops.dequantize_per_tensor(ops.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8), 0.2, 0, -128,
                                                  127, torch.int8)
            return self.layer(x)

    with pytest.raises(CompileError, match=message):
        import_model(Model(), (torch.randn(3, 8),))


@pytest.mark.parametrize("qat", [False, True])
def test_torchao_is_a_front(qat):
    """The graph that torchao converts is compiled with its own integers and equals it but for rounding."""
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e

    from weft.quantize.pt2e import AcceleratorQuantizer

    torch.manual_seed(5)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    batches = [torch.randn(1, 6, 16) for _ in range(4)]
    exported = torch.export.export(layer.eval(), (batches[0],)).module()
    prepared = (prepare_qat_pt2e if qat else prepare_pt2e)(exported, AcceleratorQuantizer(qat))
    for batch in batches:
        prepared(batch)
    converted = convert_pt2e(prepared)
    program = weft.compile(converted, (batches[0],), config="tiny", calibration=[((batch,), {}) for batch in batches])
    kept = [tensor for tensor in converted.buffers() if tensor.dtype == torch.int8]
    graph = quantized(converted, batches[0])
    weights = [op.weight for op in graph.ops if isinstance(op, qg.Linear)]
    for integers in kept:
        rows = integers.numpy().tolist()
        assert any(weight.tolist() == rows or weight.tolist() in (rows[n:n + len(weight)] for n in range(len(rows)))
                   for weight in weights)
    with torch.no_grad():
        wanted = converted(batches[0]).numpy()
    assert snr(program.run((batches[0],)).outputs[0], wanted) > 28
