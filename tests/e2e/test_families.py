"""Encoders and vision models as users have them: golden model equal to the quantized graph, close to float."""

import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn
from torch.nn import functional as F

import weft
from weft.frontend import import_model
from weft.lower import lower
from weft.program import Program
from weft.quantize import quantize

ENCODER = dict(vocab_size=60, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40,
               max_position_embeddings=32)
DISTIL = dict(vocab_size=60, dim=24, n_layers=1, n_heads=3, hidden_dim=36, max_position_embeddings=32)
VISION = dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40, image_size=12,
              patch_size=4, num_channels=3, num_labels=5)


class Encoder(nn.Module):
    """`torch.nn.TransformerEncoder` behind keyword arguments."""

    def __init__(self, norm_first, features=24, heads=3, activation="relu", batch_first=True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(features, heads, 44, norm_first=norm_first, activation=activation,
                                           batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x, src_key_padding_mask=None):
        return self.encoder(x, src_key_padding_mask=src_key_padding_mask)


class Handwritten(nn.Module):
    """A pre-norm layer of any width: attention by one operator or spelled out, or head by head as in lectures."""

    def __init__(self, features, heads, head_dim, style):
        super().__init__()
        self.heads, self.style = heads, style
        self.first, self.second = nn.LayerNorm(features), nn.LayerNorm(features)
        self.qkv = nn.ModuleList([nn.Linear(features, 3 * head_dim) for _ in range(heads)])
        self.out = nn.Linear(heads * head_dim, features)
        self.feed = nn.Sequential(nn.Linear(features, 2 * features), nn.SiLU(), nn.Linear(2 * features, features))

    def attend(self, q, k, v):
        if self.style == "operator":
            return F.scaled_dot_product_attention(q, k, v)
        if self.style == "einsum":
            weights = torch.einsum("bqd,bkd->bqk", q, k) * q.shape[-1] ** -0.5
            return torch.einsum("bqk,bkd->bqd", weights.softmax(-1), v)
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v

    def forward(self, x):
        y = self.first(x)
        x = x + self.out(torch.cat([self.attend(*layer(y).chunk(3, -1)) for layer in self.qkv], -1))
        return x + self.feed(self.second(x))


class Pooled(nn.Module):
    """A vision model by hand: pixels normalized per channel, windows that overlap, patches merged, mean over tokens."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.2, -0.1]).reshape(2, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.8, 1.3]).reshape(2, 1, 1))
        self.windows, self.merge = nn.Conv2d(2, 12, 4, 2), nn.Conv2d(12, 20, 2, 2, groups=2)
        self.place, self.norm = nn.Parameter(torch.randn(1, 20, 2, 2)), nn.LayerNorm(20)
        self.classify = nn.Linear(20, 7)

    def forward(self, pixels):
        x = self.merge(F.gelu(self.windows((pixels - self.mean) / self.deviation))) + self.place
        return self.classify(self.norm(x.flatten(2).transpose(1, 2)).mean(1))


def token_ids(seed, tokens=9, mask=True):
    generator = torch.Generator().manual_seed(seed)
    kwargs = {"input_ids": torch.randint(3, 60, (2, tokens), generator=generator)}
    if mask:
        kwargs["attention_mask"] = (torch.arange(tokens) < torch.randint(1, tokens + 1, (2, 1), generator=generator)).long()
    return (), kwargs


def pixels(seed, channels=3, size=12):
    return (torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(seed)),), {}


def hidden(seed, features=24, padded=False, batch_first=True):
    generator = torch.Generator().manual_seed(seed)
    args = (torch.randn(*((2, 7) if batch_first else (7, 2)), features, generator=generator),)
    lengths = torch.randint(1, 8, (2, 1), generator=generator)
    return args, {"src_key_padding_mask": torch.arange(7) >= lengths} if padded else {}


def transformer(name, options, **more):
    kind = name.split("For")[0].removesuffix("Model")
    return lambda: getattr(hf, name)(getattr(hf, f"{kind}Config")(**options | more))


MODELS = {
    "BertModel": (transformer("BertModel", ENCODER), token_ids),
    "BertForSequenceClassification": (transformer("BertForSequenceClassification", ENCODER), token_ids),
    "BertForTokenClassification": (transformer("BertForTokenClassification", ENCODER, num_labels=5), token_ids),
    "BertForQuestionAnswering, eager": (
        transformer("BertForQuestionAnswering", ENCODER, attn_implementation="eager"), token_ids),
    "BertForMaskedLM": (transformer("BertForMaskedLM", ENCODER, vocab_size=61), token_ids),
    "DistilBertForSequenceClassification": (transformer("DistilBertForSequenceClassification", DISTIL), token_ids),
    "DistilBertForQuestionAnswering": (transformer("DistilBertForQuestionAnswering", DISTIL), token_ids),
    "RobertaModel": (transformer("RobertaModel", ENCODER), token_ids),
    "RobertaForTokenClassification": (transformer("RobertaForTokenClassification", ENCODER, num_labels=3), token_ids),
    "ElectraForSequenceClassification": (
        transformer("ElectraForSequenceClassification", ENCODER, embedding_size=16), token_ids),
    "AlbertModel": (transformer("AlbertModel", ENCODER, embedding_size=16), token_ids),
    "ViTForImageClassification": (transformer("ViTForImageClassification", VISION), pixels),
    "DeiTForImageClassification": (transformer("DeiTForImageClassification", VISION), pixels),
    "DeiTForImageClassificationWithTeacher": (transformer("DeiTForImageClassificationWithTeacher", VISION), pixels),
    "CLIPVisionModel": (lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VISION)), pixels),
    "Dinov2Model": (transformer("Dinov2Model", VISION), pixels),
    "TransformerEncoder, post-norm": (lambda: Encoder(False), lambda seed: hidden(seed, padded=True)),
    "TransformerEncoder, pre-norm": (lambda: Encoder(True, 35, 5, "gelu"), lambda seed: hidden(seed, 35, padded=True)),
    "TransformerEncoder, batch second": (lambda: Encoder(False, batch_first=False),
                                         lambda seed: hidden(seed, batch_first=False)),
    "by hand, 5 heads of 8": (lambda: Handwritten(23, 5, 8, "operator"), lambda seed: hidden(seed, 23)),
    "by hand, 2 heads of 13": (lambda: Handwritten(26, 2, 13, "einsum"), lambda seed: hidden(seed, 26)),
    "by hand, 1 head of 128": (lambda: Handwritten(27, 1, 128, "spelled out"), lambda seed: hidden(seed, 27)),
    "by hand, vision": (Pooled, lambda seed: pixels(seed, channels=2, size=10)),
}


def made(name):
    """Model with weights as large as trained ones, and a function of a seed that gives its arguments."""
    make, data = MODELS[name]
    torch.manual_seed(len(name))
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif isinstance(model, hf.PreTrainedModel):
                parameter.mul_(3)
    return model, data


@pytest.mark.parametrize("name", MODELS)
def test_golden_model_equals_the_quantized_graph_and_is_close_to_float(name):
    model, data = made(name)
    config = weft.Config.named("small")
    batches = [data(seed) for seed in range(12)]
    graph = quantize(import_model(model, *batches[0]), batches, key_block=config.key_block, wide_block=config.panel)
    program = Program.from_lowered(lower(graph, config), graph.host)
    args, kwargs = data(99)
    found = program.run(args, kwargs).outputs

    inputs, state = graph.host.prepare(args, kwargs)
    for values, expected in zip(found, graph.host.finish(graph.run(inputs), state), strict=True):
        np.testing.assert_array_equal(values, expected)

    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(model(*args, **kwargs))
    seen = kwargs["attention_mask"].bool() if "attention_mask" in kwargs else ~kwargs.get(
        "src_key_padding_mask", torch.zeros(2, 1, dtype=torch.bool))
    for values, want in zip(found, wanted, strict=True):
        assert values.shape == want.shape
        if want.shape[:2] == seen.shape:
            values, want = values[seen.numpy()], want[seen]
        assert np.abs(values - want.numpy()).mean() < 0.08 * want.abs().mean()


def test_rtl_of_a_vision_model_writes_the_same_bytes():
    model, data = made("ViTForImageClassification")
    batches = [tuple(arg[:1] for arg in data(seed)[0]) for seed in range(4)]
    program = weft.compile(model, batches[0], config="tiny", calibration=[(args, {}) for args in batches])
    result = program.verify(batches[1])
    assert result.outputs[0].shape == (1, 5)


@pytest.mark.parametrize("wrong, message", [
    (torch.zeros(2, 3, 12, 10), r"pixel_values has shape \[2, 3, 12, 10\].*\[2, 3, 12, 12\]"),
    (torch.full((2, 3, 12, 12), float("nan")), "pixel_values holds NaN"),
    (torch.zeros(2, 3, 12, 12, dtype=torch.bool), "pixel_values has dtype bool.*float32"),
    (None, "pixel_values is missing"),
])
def test_pixels_are_checked(wrong, message):
    model, data = made("ViTForImageClassification")
    program = weft.compile(model, *data(0), config="small")
    with pytest.raises(weft.InputError, match=message):
        program.run((wrong,))
