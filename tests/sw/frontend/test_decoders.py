"""Causal decoders: rotary embedding in every spelling, causal masks beside padding masks, gated layers."""

import pytest
import torch
from float_graphs import check
from torch import nn
from torch.nn import functional as F

from weft import CompileError
from weft.frontend import graph as fg
from weft.frontend import import_model

transformers = pytest.importorskip("transformers")

TINY = dict(vocab_size=61, max_position_embeddings=24)
LLAMA = dict(**TINY, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2)
DECODERS = {
    "GPT2LMHeadModel": ("GPT2Config", dict(vocab_size=61, n_positions=24, n_embd=32, n_head=4, n_layer=2)),
    "OPTForCausalLM": ("OPTConfig", dict(**TINY, hidden_size=32, word_embed_proj_dim=32, ffn_dim=40,
                                         num_hidden_layers=2, num_attention_heads=4)),
    "LlamaForCausalLM": ("LlamaConfig", LLAMA),
    "Qwen2ForCausalLM": ("Qwen2Config", LLAMA),
}


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_hugging_face_decoders(name, kind, padding):
    torch.manual_seed(0)
    configuration, size = DECODERS[name]
    model = getattr(transformers, name)(getattr(transformers, configuration)(**size, attn_implementation=kind))
    kwargs = dict(input_ids=torch.randint(0, 61, (2, 9)), use_cache=False)
    rows = None
    if padding:
        kwargs["attention_mask"] = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
        rows = kwargs["attention_mask"].bool()
    graph = check(model, (), kwargs, rows)
    layers = [op for op in graph.ops if isinstance(op, fg.FAttention)]
    assert len(layers) == 2 and all(op.causal for op in layers)
    for op in layers:       # one row a sequence: causality is not part of the mask
        assert (op.mask is not None) == padding
        assert not padding or graph.tensors[op.mask].rows == 2
    rotated = [op for op in graph.ops if isinstance(op, fg.FRotary)]
    assert len(rotated) == (4 if "num_key_value_heads" in size else 0)
    assert all(op.cos.shape == (18, 8) for op in rotated)


def _halves(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * torch.cat((cos, cos), -1) + torch.cat((-b, a), -1) * torch.cat((sin, sin), -1)


def _apart(x, cos, sin):
    a, b = x[..., :x.shape[-1] // 2], x[..., x.shape[-1] // 2:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def _neighbours(x, cos, sin):
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * cos.repeat_interleave(2, -1) + turned * sin.repeat_interleave(2, -1)


def _neighbours_apart(x, cos, sin):
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def _part(x, cos, sin):
    width = 2 * x.shape[-1] // 4
    return torch.cat((_halves(x[..., :width], cos[..., :width // 2], sin[..., :width // 2]), x[..., width:]), -1)


class Rotated(nn.Module):
    """Causal attention with 4 query and 2 key heads of 8 features, rotated by ``spelling``."""

    def __init__(self, spelling, length):
        super().__init__()
        self.spelling = spelling
        self.qkv = nn.Linear(24, 4 * 8 + 2 * 2 * 8)
        angle = torch.arange(length)[:, None] * 100.0 ** (-torch.arange(4) / 4)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (-1, 8)).transpose(1, 2) for t in self.qkv(x).split((32, 16, 16), -1))
        q, k = self.spelling(q, self.cos, self.sin), self.spelling(k, self.cos, self.sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return y.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("spelling", [_halves, _apart, _neighbours, _neighbours_apart, _part])
def test_rotary_in_every_spelling(spelling, length):
    torch.manual_seed(1)
    graph = check(Rotated(spelling, length), (torch.randn(2, length, 24),))
    assert sum(isinstance(op, fg.FRotary) for op in graph.ops) == 2
    assert not any(isinstance(op, (fg.FMultiply, fg.FAffine)) for op in graph.ops)


def test_other_sums_of_features_are_refused():
    def shifted(x, cos, sin):
        return x * torch.cat((cos, cos), -1) + x.roll(1, -1) * torch.cat((sin, sin), -1)

    with pytest.raises(CompileError, match="rotate pairs"):
        import_model(Rotated(shifted, 7), (torch.randn(1, 7, 24),))


def test_products_of_activations_and_tables():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 20)
            self.register_buffer("table", torch.rand(5, 10))

        def forward(self, x):
            gate, up = self.inner(x).chunk(2, -1)
            return F.silu(gate) * up * self.table

    graph = check(Gated(), (torch.randn(2, 5, 6),))
    assert sum(isinstance(op, fg.FMultiply) for op in graph.ops) == 2
