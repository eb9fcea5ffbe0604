"""Quantized graphs stay close to float, keep the integer limits, and refuse what does not fit."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from weft import CompileError, InputError
from weft import qgraph as qg
from weft.frontend import import_model
from weft.quantize import QuantOptions, quantize
from weft.quantize.execute import execute
from weft.quantize.host import HostProgram

transformers = pytest.importorskip("transformers")


def compiled(model, args=(), kwargs=None, batches=None, wide_block=0, **options):
    """Quantized graph of ``model``, calibrated on its own arguments unless told otherwise."""
    model.eval()
    kwargs = kwargs or {}
    graph = import_model(model, args, kwargs)
    return quantize(graph, batches or [(args, kwargs)], QuantOptions(**options), 4, wide_block)


def run(graph, args=(), kwargs=None):
    """Float results through a host program that went through JSON."""
    host = HostProgram.from_description(json.loads(json.dumps(graph.host.description)), graph.host.arrays)
    tensors, state = host.prepare(args, kwargs)
    return host.finish(graph.run(tensors), state)


def snr(got, wanted):
    """Signal to noise in dB."""
    wanted = np.asarray(wanted, np.float64)
    return 10 * np.log10((wanted**2).mean() / max(((got - wanted) ** 2).mean(), 1e-30))


def check_limits(graph):
    """Every integer the hardware would receive is one it can hold."""
    for op in graph.ops:
        if isinstance(op, qg.Linear):
            assert op.weight.dtype == np.int8 and op.weight.min() >= -127
            assert graph.tensors[op.x].dtype in ("int8", "uint8")
            assert op.table is None or (op.rescale.dtype == "int8" and op.table.shape == (256,))
        for rescale in (getattr(op, "rescale", None), getattr(op, "rescale2", None)):
            if rescale is None:
                continue
            low, high = qg.DTYPES[rescale.dtype]
            assert rescale.bias.dtype == rescale.mult.dtype == rescale.shift.dtype == np.int32
            assert np.abs(rescale.mult).max() <= 131071 and rescale.shift.min() >= 1
            assert rescale.shift.max() <= (47 if not isinstance(op, qg.Norm) else 16 if rescale.dtype == "int16" else 23)
            assert low <= rescale.zero <= high
            assert len(rescale.mult) == graph.tensors[op.out].features
        if isinstance(op, qg.Attention):
            assert 1 <= op.score_mult <= 131071 and 2**15 <= op.out_mult < 2**16 and op.out_shift >= 1
            assert [graph.tensors[n].dtype for n in (op.q, op.k, op.v, op.out)] == ["int8"] * 4
        if isinstance(op, qg.Add):
            scales = {float(graph.tensors[n].scale[0]) for n in (op.a, op.b, op.out)}
            assert len(scales) == 1


def bert(**changes):
    torch.manual_seed(4)
    config = dict(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                  initializer_range=0.3) | changes
    return transformers.BertModel(transformers.BertConfig(**config))


def tokens(batch=2, length=9):
    torch.manual_seed(5)
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, (length + 1) // 2:] = 0
    return {"input_ids": torch.randint(1, 60, (batch, length)), "attention_mask": mask}


@pytest.mark.parametrize("changes", [{}, {"hidden_act": "relu"}, {"hidden_act": "tanh"}, {"hidden_act": "silu"},
                                     {"num_attention_heads": 1, "num_hidden_layers": 1},
                                     {"hidden_size": 21, "intermediate_size": 13, "num_hidden_layers": 1}])
def test_close_to_float(changes):
    model, inputs = bert(**changes), tokens()
    graph = compiled(model, kwargs=inputs)
    check_limits(graph)
    with torch.no_grad():
        hidden, pooled = model.eval()(**inputs).to_tuple()
    got = run(graph, kwargs=inputs)
    rows = inputs["attention_mask"].bool().numpy()
    assert got[0].dtype == np.float32 and got[0].shape == tuple(hidden.shape)
    assert snr(got[0][rows], hidden.numpy()[rows]) > 25
    assert snr(got[1], pooled.numpy()) > 18


def test_one_token():
    model, inputs = bert(num_hidden_layers=1), {"input_ids": torch.tensor([[7]])}
    graph = compiled(model, kwargs=inputs)
    with torch.no_grad():
        wanted = model.eval()(**inputs).last_hidden_state.numpy()
    assert snr(run(graph, kwargs=inputs)[0], wanted) > 25


def test_relu_costs_no_table_and_is_unsigned():
    graph = compiled(bert(hidden_act="relu"), kwargs=tokens())
    up = [op for op in graph.ops if isinstance(op, qg.Linear) and op.rescale.dtype == "uint8"]
    assert len(up) == 2 and all(op.table is None and op.rescale.zero == 0 for op in up)


def test_residuals_are_added_on_the_way_out():
    graph = compiled(bert(), kwargs=tokens())
    assert sum(isinstance(op, qg.Linear) and op.residual is not None for op in graph.ops) == 4
    assert sum(isinstance(op, qg.Add) for op in graph.ops) == 1


def test_outlier_features_move_into_the_weights():
    model, inputs = bert(num_hidden_layers=1), tokens()
    with torch.no_grad():
        model.embeddings.LayerNorm.weight[3] = 60.0
    graph = compiled(model, kwargs=inputs)
    norm = next(op for op in graph.ops if isinstance(op, qg.Norm))
    scale = graph.tensors[norm.out2].scale
    assert scale[3] > 3 * np.median(scale)

    def feature_noise(**options):
        graph = compiled(model, kwargs=inputs, **options)
        env = execute(graph, graph.host.prepare((), inputs)[0], keep=True)
        norm = next(op for op in graph.ops if isinstance(op, qg.Norm))
        fine = env[norm.out] * graph.tensors[norm.out].scale
        return np.delete((env[norm.out2] * graph.tensors[norm.out2].scale - fine) ** 2, 3, axis=1).mean()

    assert feature_noise() < 0.25 * feature_noise(strengths=())


def test_shorter_inputs_are_padded_and_cut_back():
    model, inputs = bert(), tokens(1, 9)
    graph = compiled(model, kwargs=inputs)
    short = {name: value[:, :5] for name, value in inputs.items()}
    padded = {"input_ids": torch.nn.functional.pad(short["input_ids"], (0, 4)),
              "attention_mask": torch.nn.functional.pad(short["attention_mask"], (0, 4))}
    cut, full = run(graph, kwargs=short)[0], run(graph, kwargs=padded)[0]
    assert cut.shape == (1, 5, 24)
    assert np.array_equal(cut, full[:, :5])


def test_padding_polarity_is_found_by_trying():
    torch.manual_seed(6)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 20, batch_first=True), 1, enable_nested_tensor=False)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.encoder = nn.Embedding(30, 12), encoder

        def forward(self, ids, ignore):
            return self.encoder(self.table(ids), src_key_padding_mask=ignore)

    ids, ignore = torch.randint(0, 30, (2, 6)), torch.zeros(2, 6, dtype=torch.bool)
    ignore[0, 4:] = True
    graph = compiled(Model(), (ids, ignore))
    assert graph.host.padding == {"length": 6, "leaves": {"0": 0, "1": 1}}
    assert run(graph, (ids[:, :4], ignore[:, :4]))[0].shape == (2, 4, 12)


def test_masked_keys_change_nothing():
    model, inputs = bert(), tokens()
    graph = compiled(model, kwargs=inputs)
    other = {**inputs, "input_ids": torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], 3)}
    rows = inputs["attention_mask"].bool().numpy()
    assert np.array_equal(run(graph, kwargs=inputs)[0][rows], run(graph, kwargs=other)[0][rows])
    changed = {**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}
    assert not np.array_equal(run(graph, kwargs=inputs)[0][rows], run(graph, kwargs=changed)[0][rows])


def test_causal_grouped_attention_runs():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv, self.o = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x):
            q = self.q(x).unflatten(-1, (4, 4)).transpose(1, 2)
            k, v = self.kv(x).unflatten(-1, (2, 2, 4)).unbind(2)
            y = nn.functional.scaled_dot_product_attention(q, k.transpose(1, 2), v.transpose(1, 2), is_causal=True,
                                                           enable_gqa=True)
            return self.o(y.transpose(1, 2).flatten(2))

    torch.manual_seed(7)
    model, x = Causal(), torch.randn(2, 7, 16)
    graph = compiled(model, (x,))
    attention = next(op for op in graph.ops if isinstance(op, qg.Attention))
    assert (attention.causal, attention.mask, attention.kv_heads) == (True, None, 2)
    with torch.no_grad():
        assert snr(run(graph, (x,))[0], model(x).numpy()) > 30


def test_seq_first_batches_come_back_in_order():
    torch.manual_seed(8)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 20), 1, enable_nested_tensor=False)
    x = torch.randn(5, 3, 12)
    graph = compiled(model, (x,))
    with torch.no_grad():
        assert snr(run(graph, (x,))[0], model.eval()(x).numpy()) > 30


def test_inputs_bind_by_position_or_name_and_are_checked():
    model, inputs = bert(num_hidden_layers=1), tokens()
    graph = compiled(model, kwargs=inputs)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    assert np.array_equal(run(graph, (ids, mask))[0], run(graph, (ids.numpy(),), {"attention_mask": mask.numpy()})[0])
    for args, kwargs, message in [
        ((ids,), {}, "attention_mask is missing"),
        ((ids, mask), {"input_ids": ids}, "given twice"),
        ((ids, mask), {"pixels": mask}, "pixels was not among"),
        ((ids.float(), mask), {}, "input_ids has dtype float32"),
        ((ids[:1], mask), {}, r"input_ids has shape \[1, 9\]"),
        ((ids[:, :4], mask), {}, "attention_mask has 9 tokens|shape"),
        ((ids.repeat(1, 2), mask.repeat(1, 2)), {}, "at most 9 tokens"),
        ((ids + 60, mask), {}, "out of range: the model has 60 entries"),
        ((-ids, mask), {}, "out of range"),
    ]:
        with pytest.raises(InputError, match=message):
            graph.host.prepare(args, kwargs)


def test_another_length_is_refused_without_a_mask():
    model, ids = bert(num_hidden_layers=1), torch.randint(1, 60, (1, 6))
    graph = compiled(model, kwargs={"input_ids": ids})
    with pytest.raises(InputError, match=r"shape \[1, 4\].*shape \[1, 6\]"):
        graph.host.prepare((ids[:, :4],))


def test_calibration_errors():
    model, inputs = bert(num_hidden_layers=1), tokens()
    graph = import_model(model, (), inputs)
    with pytest.raises(CompileError, match="at least one batch"):
        quantize(graph, [])
    with pytest.raises(CompileError, match="block width"):
        quantize(graph, [((), inputs)], key_block=0)
    with pytest.raises(InputError, match="shape"):
        quantize(graph, [((), tokens(3, 9))])


def test_accumulators_that_could_overflow_are_refused():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(140000, 1)
            nn.init.constant_(self.layer.weight, 1.0)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(CompileError, match="beyond int32"):
        compiled(Wide(), (torch.randn(2, 140000),), strengths=())


def test_neurons_with_rare_large_values_get_their_own_table():
    model, inputs = bert(num_hidden_layers=1, intermediate_size=40), tokens()
    with torch.no_grad():
        model.encoder.layer[0].intermediate.dense.bias[[5, 17]] = 40.0
    results = {}
    for block in (0, 4):
        graph = compiled(model, kwargs=inputs, wide_block=block)
        check_limits(graph)
        up = next(op for op in graph.ops if isinstance(op, qg.Linear) and op.table is not None)
        assert up.wide == block
        results[block] = run(graph, kwargs=inputs)[0]
    with torch.no_grad():
        wanted = model.eval()(**inputs).last_hidden_state.numpy()
    rows = inputs["attention_mask"].bool().numpy()
    assert snr(results[4][rows], wanted[rows]) > max(45, snr(results[0][rows], wanted[rows]) + 2.9)


def _odd(name):
    """Small models whose tensors need unusual integer forms."""
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm = nn.Linear(10, 10), nn.Linear(10, 10), nn.LayerNorm(10)
            self.gain = nn.Parameter(torch.rand(10) + 0.5)

        def forward(self, x):
            if name == "norm, function":
                return self.b(torch.tanh(self.norm(self.a(x))))
            if name == "read twice":
                y = self.a(x)
                return self.b(y) + y
            if name == "scaled twice":
                y = self.norm(self.a(x))
                return self.b(y * self.gain + 0.25) + y
            if name == "attention added":
                y = self.a(x)
                z = nn.functional.scaled_dot_product_attention(y[:, None], y[:, None], y[:, None])[:, 0]
                return self.norm(z + y)
            if name == "rectified queries":
                y = torch.relu(self.a(x))
                return nn.functional.scaled_dot_product_attention(y[:, None], self.b(x)[:, None], self.b(x)[:, None])[:, 0]
            if name == "first and last token":
                y = self.norm(self.a(x))
                return self.b(y[:, 0]), y[:, -1]
            if name == "function as result":
                return torch.sigmoid(self.a(x)), torch.relu(self.b(x))
            if name == "difference":
                return self.norm(self.a(x) - self.b(x))
            if name == "constant added":
                return self.norm(self.a(x) + torch.linspace(-1, 1, 40).reshape(4, 10))
            raise KeyError(name)

    torch.manual_seed(10)
    return Odd()


@pytest.mark.parametrize("name", ["norm, function", "read twice", "scaled twice", "attention added", "rectified queries",
                                  "first and last token", "function as result", "difference", "constant added"])
def test_unusual_forms(name):
    model, x = _odd(name).eval(), torch.randn(2, 4, 10)
    graph = compiled(model, (x,))
    check_limits(graph)
    with torch.no_grad():
        wanted = model(x)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for got, want in zip(run(graph, (x,)), wanted, strict=True):
        assert got.shape == tuple(want.shape)
        assert snr(got, want.numpy()) > 28


def test_values_fixed_by_export_may_not_change():
    class Switch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x, double=False, extra=None):
            y = self.layer(x if extra is None else x + extra)
            return y + y if double else y

    x = torch.randn(2, 4)
    graph = compiled(Switch(), (x,), {"double": True, "extra": None})
    run(graph, (x, True))
    run(graph, (x,))
    for kwargs, message in [({"double": False}, "double is False.*compiled for True"),
                            ({"extra": x}, r"extra is of shape \[2, 4\].*compiled for None")]:
        with pytest.raises(InputError, match=message):
            graph.host.prepare((x,), kwargs)
