"""What an exported model computes must survive the import: the float graph equals the model."""

import numpy as np
import pytest
import torch
from float_graphs import check
from torch import nn
from torch.nn import functional as F

from weft import CompileError
from weft.frontend import graph as fg
from weft.frontend import import_model

transformers = pytest.importorskip("transformers")


def kinds(graph):
    return [type(op).__name__[1:] for op in graph.ops]


def tokens(batch=2, length=7, vocabulary=60):
    ids = torch.randint(5, vocabulary, (batch, length))
    mask = torch.ones(batch, length, dtype=torch.long)
    if length > 3:
        mask[-1, length - 3:] = 0
    return {"input_ids": ids, "attention_mask": mask}


SMALL = dict(vocab_size=60, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20)


@pytest.mark.parametrize("name, config, size", [
    ("Bert", SMALL, (2, 7)),
    ("Bert", SMALL | {"attn_implementation": "eager"}, (2, 7)),
    ("Bert", SMALL | {"hidden_act": "relu", "num_attention_heads": 1, "num_hidden_layers": 2}, (1, 5)),
    ("Bert", SMALL, (1, 1)),
    ("Roberta", SMALL, (2, 7)),
    ("Electra", SMALL | {"embedding_size": 8}, (2, 7)),
    ("Albert", SMALL | {"embedding_size": 8}, (2, 7)),
    ("DistilBert", dict(vocab_size=60, dim=12, n_layers=1, n_heads=2, hidden_dim=20), (2, 7)),
    ("GPT2", dict(vocab_size=60, n_embd=12, n_layer=1, n_head=2, use_cache=False), (2, 7)),
])
def test_hugging_face_models(name, config, size):
    torch.manual_seed(1)
    model = getattr(transformers, name + "Model")(getattr(transformers, name + "Config")(**config))
    inputs = tokens(*size)
    check(model, kwargs=inputs, rows=inputs["attention_mask"].bool())


def test_key_mask_is_reduced_to_one_row_per_sequence():
    torch.manual_seed(1)
    model = transformers.BertModel(transformers.BertConfig(**SMALL))
    graph = check(model, kwargs=(inputs := tokens()), rows=inputs["attention_mask"].bool())
    masks = [op for op in graph.ops if isinstance(op, fg.FInput) and op.kind == "mask"]
    assert [graph.tensors[op.out].rows for op in masks] == [2]
    assert not any(op.causal for op in graph.ops if isinstance(op, fg.FAttention))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_torch_transformer_encoder(batch_first, norm_first):
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=batch_first, norm_first=norm_first)
    graph = check(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (torch.randn(2, 5, 12),))
    assert kinds(graph).count("Attention") == 2


class Handwritten(nn.Module):
    """Attention as matmul, mask, softmax, matmul; norms and GELU written out."""

    def __init__(self, features=12, heads=3, kv_heads=3, causal=False):
        super().__init__()
        self.heads, self.kv_heads, self.causal = heads, kv_heads, causal
        self.d = features // heads
        self.qkv = nn.Linear(features, (heads + 2 * kv_heads) * self.d)
        self.out = nn.Linear(features, features, bias=False)
        self.gain = nn.Parameter(torch.rand(features) + 0.5)
        self.offset = nn.Parameter(torch.randn(features))
        self.up, self.down = nn.Linear(features, 20), nn.Linear(20, features)

    def norm(self, x):
        centered = x - x.mean(-1, keepdim=True)
        return centered * torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + 1e-5) * self.gain + self.offset

    def rms(self, x):
        return self.gain * (x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6))

    def forward(self, x, mask=None):
        b, s, f = x.shape
        y = self.qkv(self.norm(x))
        q, k, v = y.split([self.heads * self.d, self.kv_heads * self.d, self.kv_heads * self.d], -1)
        q = q.view(b, s, self.heads, self.d).transpose(1, 2) * self.d**-0.5
        k = k.view(b, s, self.kv_heads, self.d).transpose(1, 2).repeat_interleave(self.heads // self.kv_heads, 1)
        v = v.view(b, s, self.kv_heads, self.d).transpose(1, 2).repeat_interleave(self.heads // self.kv_heads, 1)
        scores = q @ k.transpose(-1, -2)
        if self.causal:
            scores = scores.masked_fill(torch.ones(s, s, dtype=torch.bool).triu(1), float("-inf"))
        if mask is not None:
            scores = scores + (1.0 - mask[:, None, None].float()) * -1e9
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, f))
        h = self.up(self.rms(x))
        h = 0.5 * h * (1.0 + torch.erf(h / 2**0.5))
        return x + self.down(h)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"heads": 4, "kv_heads": 2}, {"heads": 1, "kv_heads": 1}])
def test_handwritten_layers_are_recognised(options):
    torch.manual_seed(3)
    graph = check(Handwritten(**options), (torch.randn(2, 5, 12),))
    assert kinds(graph) == ["Input", "Norm", "Linear", "Linear", "Linear", "Attention", "Linear", "Add", "Norm", "Linear",
                            "Unary", "Linear", "Add"]
    attention = next(op for op in graph.ops if isinstance(op, fg.FAttention))
    assert (attention.heads, attention.kv_heads) == (options.get("heads", 3), options.get("kv_heads", 3))
    assert attention.causal == options.get("causal", False)
    assert [op.kind for op in graph.ops if isinstance(op, fg.FNorm)] == ["layer", "rms"]
    assert "erf" in graph.ops[-3].label


def test_handwritten_additive_mask():
    torch.manual_seed(3)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    graph = check(Handwritten(), (torch.randn(2, 5, 12), mask))
    assert any(isinstance(op, fg.FInput) and op.kind == "mask" for op in graph.ops)


def test_macs_count_exported_shapes():
    graph = check(Handwritten(causal=True), (torch.randn(2, 5, 12),))
    linear = 10 * (12 * 36 + 12 * 12 + 12 * 20 + 20 * 12)
    assert sum(op.origin.macs for op in graph.ops) == linear + 2 * 2 * 12 * 15


def test_the_model_is_left_as_it_was():
    model = Handwritten().train()
    model.up.eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.out.weight.requires_grad_(False)
    import_model(model, (torch.randn(1, 4, 12),))
    assert model.training and not model.up.training and model.down.training
    assert [p.requires_grad for p in (model.out.weight, model.qkv.weight)] == [False, True]
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


def test_rows_can_be_selected_and_columns_cut():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(4, 3)

        def forward(self, x):
            return self.b(self.a(x)[:, 1, 2:6])

    graph = check(Head(), (torch.randn(2, 3, 6),))
    assert "Select" in kinds(graph)


class Unsupported(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.function = function

    def forward(self, x):
        return self.function(self.inner(x))


@pytest.mark.parametrize("function, message", [
    (lambda x: x.cumsum(1), "cumsum"),
    (lambda x: torch.linalg.inv(x @ x.mT), "inv"),
    (lambda x: x / x.flip(-1), "quotient of two different"),
    (lambda x: F.softmax(x, -1), "softmax"),
    (lambda x: x - x.mean(-1, keepdim=True), "mean"),
    (lambda x: x.transpose(1, 2) @ torch.ones(3, 2), "rows"),
])
def test_unsupported_operators_are_named(function, message):
    with pytest.raises(CompileError, match=message):
        import_model(Unsupported(function), (torch.randn(2, 3, 4),))


def test_error_names_the_module():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Identity(), Unsupported(lambda x: x.cumsum(1))])

        def forward(self, x):
            return self.blocks[1](x)

    with pytest.raises(CompileError, match=r"cumsum.*module blocks\.1.*supported: linear layers"):
        import_model(Outer(), (torch.randn(2, 3, 4),))


def test_position_bias_is_refused():
    def biased(x):
        return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], attn_mask=torch.randn(3, 3))

    with pytest.raises(CompileError, match="position bias"):
        import_model(Unsupported(biased), (torch.randn(2, 3, 4),))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_must_be_finite(bad):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[1].weight[2, 1] = bad
    with pytest.raises(CompileError, match=r"1\.weight"):
        import_model(model, (torch.randn(2, 4),))


def test_models_that_export_refuses():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(CompileError, match="torch.export cannot export Branch"):
        import_model(Branch(), (torch.randn(2, 4),))
    with pytest.raises(CompileError, match="torch.nn.Module"):
        import_model(np.zeros(3), (torch.randn(2, 4),))


def test_unknown_operators_are_decomposed():
    class Einsum(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Parameter(torch.randn(2, 8, 4))
            self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            y = torch.einsum("bsf,hfd->bhsd", x, self.q)
            y = F.scaled_dot_product_attention(y, y, y).transpose(1, 2).flatten(2)
            return y + self.heads(x, x, x, need_weights=False)[0]

    torch.manual_seed(9)
    graph = check(Einsum(), (torch.randn(2, 5, 8),))
    assert kinds(graph).count("Attention") == 2


@pytest.mark.parametrize("options, axes", [
    ({"kernel_size": 4, "stride": 4}, 2), ({"kernel_size": 3, "stride": 2, "dilation": 2}, 2),
    ({"kernel_size": (2, 4), "stride": (2, 4), "groups": 3, "bias": False}, 2), ({"kernel_size": 5, "stride": 5}, 1),
])
def test_convolution_of_an_input_is_one_linear_layer(options, axes):
    torch.manual_seed(4)
    layer = (nn.Conv1d, nn.Conv2d)[axes - 1](3, 6, **options)
    assert kinds(check(layer, (torch.randn(2, 3, *[12] * axes),))) == ["Input", "Linear"]


def test_heads_side_by_side_are_one_attention():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(6, 12) for _ in range(3)])

        def forward(self, x):
            parts = [head(x).chunk(3, -1) for head in self.heads]
            return torch.cat([F.scaled_dot_product_attention(*part) for part in parts], -1)

    graph = check(Heads(), (torch.randn(2, 5, 6),))
    assert kinds(graph) == ["Input", "Linear", "Linear", "Linear", "Attention"] and graph.ops[-1].heads == 3


@pytest.mark.parametrize("options, axes", [
    ({"kernel_size": 3, "padding": 1}, 1), ({"kernel_size": (3, 5), "padding": "same"}, 2),
    ({"kernel_size": 3, "stride": 2, "padding": (1, 0), "groups": 3}, 2),
    ({"kernel_size": 2, "padding": "same", "dilation": 2}, 2),
])
def test_padding_is_the_hosts_for_an_input_and_a_row_of_zeros_for_activations(options, axes):
    torch.manual_seed(4)
    kind, sizes = (nn.Conv1d, nn.Conv2d)[axes - 1], (7, 6)[:axes]
    layer = kind(3, 6, **options)
    assert kinds(check(layer, (torch.randn(2, 3, *sizes),))) == ["Input", "Linear"]
    graph = check(nn.Sequential(kind(2, 3, 1), nn.GELU(), layer), (torch.randn(2, 2, *sizes),))
    assert kinds(graph).count("Concat") == 1


def test_mirrored_padding_is_rows_again_and_a_transposed_convolution_is_refused():
    check(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (torch.randn(1, 3, 6, 6),))
    with pytest.raises(CompileError, match="transposed convolution"):
        import_model(nn.ConvTranspose1d(3, 4, 3), (torch.randn(1, 3, 6),))
