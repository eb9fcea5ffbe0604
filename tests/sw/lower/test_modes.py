"""Weight formats that a layer or a configuration does not take: refused where the layer is named, said where it is not."""

import warnings

import pytest
import torch
from torch import nn

import weft
from weft import CompileError, WeftWarning
from weft.nn import BlockCirculantLinear
from weft.weights import GroupedWeights
from weft.lower import prepare
from weft.frontend import import_model
from weft.quantize import QuantOptions, quantize

torch.set_num_threads(1)

TALL = weft.Config(rows=64, cols=4, four_bit=True)
SMALL = weft.Config(rows=4, cols=4, four_bit=True)
PLAIN = weft.Config(rows=4, cols=4)


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
