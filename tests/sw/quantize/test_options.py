"""Choices of quantization: names and values are checked, patterns select modules, and each choice has its effect."""

import numpy as np
import pytest
import torch
from torch import nn

import weft
from weft import CompileError, InputError
from weft import qgraph as qg
from weft.frontend import import_model
from weft.quantize import LayerOptions, QuantOptions, quantize
from weft.quantize.options import read_options


class Block(nn.Module):
    """Attention of two heads whose projections share a normalized input, then a layer of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.norm, self.attention, self.last = nn.LayerNorm(8), nn.ModuleDict(), nn.Linear(8, 8)
        for name in "qkvo":
            self.attention[name] = nn.Linear(8, 8)
        with torch.no_grad():
            self.norm.weight[2] = 30.0

    def forward(self, x):
        x = self.norm(x)
        q, k, v = (self.attention[name](x).view(1, -1, 2, 4).transpose(1, 2) for name in "qkv")
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.last(torch.tanh(x) + self.attention["o"](y.transpose(1, 2).reshape(x.shape)))


def inputs():
    torch.manual_seed(4)
    return torch.randn(1, 12, 8) * 2


def quantized(options):
    model, x = Block().eval(), inputs()
    return quantize(import_model(model, (x,)), [((x,), {})], options, 4)


def scale(graph, module):
    """Scale of the input of the linear layer in a module."""
    return graph.tensors[next(op.x for op in graph.ops if isinstance(op, qg.Linear) and op.origin.module == module)].scale


@pytest.mark.parametrize("value, message", [
    ({"*": {"calibration": "max"}}, "calibration must be 'minmax' or 'percentile' or 'mse', not 'max', for '\\*'"),
    ({"*": {"migration": 1.5}}, "migration must be 'search' or a number from 0 to 1, not 1.5"),
    ({"*": {"clips": ()}}, "clips must be numbers"),
    ({"*": {"clips": (2.0,)}}, "clips must be numbers"),
    ({"*": {"percentile": 1}}, "percentile must be a number from 50"),
    ({"*": {"correct_bias": 1}}, "correct_bias must be true or false"),
    ({"*": {"strength": 1}}, "no choice 'strength'; there are weights, calibration"),
    ({"*": "w3"}, "weights must be 'w8', '2:4', '1:4', 'circulant:4', .* or 'w4gN'.*, not 'w3', for '\\*'"),
    ({"*": 4}, "a mapping of fields or the name of a weight format, not 4"),
    ("int8", "weights must be 'w8', .* or 'w4gN'.*, not 'int8'"),
    (3, "must be a mapping from module path patterns .* not int"),
])
def test_unknown_names_and_values_are_refused(value, message):
    with pytest.raises(CompileError, match=message):
        weft.compile(Block(), (inputs(),), config="tiny", quantization=value)


def test_global_choices_are_checked():
    for change, message in [({"headroom": 0.5}, "headroom must be"), ({"samples": 0}, "samples must be"),
                            ({"layers": ["a"]}, "layers must be a mapping")]:
        with pytest.raises(CompileError, match=message):
            QuantOptions(**change)


def test_a_pattern_that_matches_nothing_is_named():
    with pytest.raises(CompileError, match=r"pattern 'attention.x' matches no module .*; such modules are attention.q, "
                                           r"attention.k, attention.v, '', ..."):
        quantized({"attention.x": "w8"})
    with pytest.raises(CompileError, match="pattern 'norm' matches no module"):
        quantized({"norm": "w8"})


def test_patterns_stand_for_modules_and_all_inside_and_later_ones_win():
    options = QuantOptions(migration=0.5, layers={"a.*.b": {"migration": 0.1, "percentile": 99}, "a.1": {"migration": 0.2},
                                                  "c": "w8"})
    chosen = options.of_modules(["a.0.b.x", "a.1.b", "a.1.d", "c", "cc"])
    assert [chosen[path].migration for path in chosen] == [0.1, 0.2, 0.2, 0.5, 0.5]
    assert chosen["a.1.b"].percentile == 99 and chosen["cc"] == LayerOptions(migration=0.5)


def test_choices_reach_the_layers_they_name():
    plain = quantized(None)
    assert len(set(scale(plain, "attention.q"))) > 1 and len(set(scale(plain, "last"))) > 1
    graph = quantized({"last": {"migration": 0}})
    assert len(set(scale(graph, "last"))) == 1
    assert np.array_equal(scale(graph, "attention.q"), scale(plain, "attention.q"))
    fixed = quantized({"last": {"migration": 0.5, "calibration": "minmax"}})
    assert len(set(scale(fixed, "last"))) > 1


def test_calibration_sets_the_range():
    ranges = {method: scale(quantized({"last": {"migration": 0, "calibration": method, "percentile": 90,
                                                "clips": (0.25,)}}), "last")[0]
              for method in ("minmax", "percentile", "mse")}
    assert ranges["mse"] == pytest.approx(0.25 * ranges["minmax"])
    assert ranges["percentile"] < 0.9 * ranges["minmax"]


def test_calibration_of_a_layer_behind_a_function_is_that_of_its_table():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 4)).eval()
    x = torch.randn(64, 8) * 9
    graph = import_model(model, (x,))

    def table(options):
        quantized = quantize(graph, [((x,), {})], {"2": options}, 4)
        return next(op for op in quantized.ops if isinstance(op, qg.Linear) and op.table is not None)

    steps = {}
    for method in ("minmax", "percentile", "mse"):
        # Entries 0 and 1 of the table are the function at 0 and one step further.
        entries = table({"calibration": method, "percentile": 80}).table.astype(int)
        steps[method] = entries[1] - entries[0]
    assert steps["percentile"] < steps["minmax"] and steps["mse"] < steps["minmax"]


def test_attention_takes_the_choices_of_its_module():
    def operands(options):
        graph = quantized(options)
        op = next(op for op in graph.ops if isinstance(op, qg.Attention))
        return [len(set(np.round(graph.tensors[name].scale, 12))) for name in (op.q, op.k, op.v, op.out)]

    assert operands({"": {"migration": 0}}) == [1, 1, 1, 1]
    assert operands({"": {"migration": 1.0}}) == [8, 8, 8, 8]


def test_bias_correction_is_a_choice():
    def bias(options):
        return next(op for op in quantized(options).ops if isinstance(op, qg.Linear) and op.origin.module == "last").rescale.bias

    assert not np.array_equal(bias(None), bias({"last": {"correct_bias": False}}))


def test_layers_that_share_an_input_must_agree_on_it():
    with pytest.raises(CompileError, match="attention.q and attention.k read the same tensor"):
        quantized({"attention.k": {"migration": 0}})
    quantized({"attention.k": {"correct_bias": False}})


def test_command_line_choices(tmp_path):
    file = tmp_path / "choices.toml"
    file.write_text('headroom = 4\nclips = [1.0, 0.5]\n[layers]\n"a.*" = "w8"\n[layers."b"]\nmigration = 0.25\n')
    options = read_options([str(file), "a.*=calibration:minmax,clips:0.9/0.8,correct_bias:false", "b=migration:search"])
    assert options.headroom == 4 and options.clips == (1.0, 0.5)
    assert options.layers == {"a.*": {"calibration": "minmax", "clips": (0.9, 0.8), "correct_bias": False},
                              "b": {"migration": "search"}}
    assert read_options(["a=2:4", "b=circulant:8", "c=weights:1:4,migration:0"]).layers == {
        "a": "2:4", "b": "circulant:8", "c": {"weights": "1:4", "migration": 0}}
    assert read_options([]) == QuantOptions()


@pytest.mark.parametrize("text, message", [
    ("w8", "PATTERN=CHOICES or a TOML file, not 'w8'"), ("a=", "PATTERN=CHOICES"), ("a=migration:0,x", "'x' is not of the form"),
    ("a=circulant:12", "weights must be .* not 'circulant:12', for 'a'"), ("a=3:4", "not '3:4', for 'a'"),
    ("none.toml", "cannot be read"), ("bad.toml", "not valid TOML"), ("odd.toml", "no choice 'headrooms'"),
])
def test_wrong_command_line_choices_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("a b")
    (tmp_path / "odd.toml").write_text("headrooms = 2")
    with pytest.raises((InputError, CompileError), match=message):
        read_options([text])
