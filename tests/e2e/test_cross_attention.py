"""Queries of one sequence, keys and values of another: decoder layers, encoder-decoders, speech; what is refused."""

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

BERT = dict(vocab_size=60, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40,
            max_position_embeddings=32, is_decoder=True, add_cross_attention=True)
PAIR = dict(vocab_size=61, d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=3, encoder_ffn_dim=40, decoder_ffn_dim=36, use_cache=False, pad_token_id=0,
            decoder_start_token_id=0)


class Crossed(nn.Module):
    """Attention from one sequence to another with heads of 12, and grouped keys."""

    def __init__(self):
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(20, 48), nn.Linear(26, 48), nn.Linear(48, 20)

    def forward(self, x, memory):
        q = self.q(x).unflatten(-1, (4, 12)).transpose(1, 2)
        k, v = (part.unflatten(-1, (2, 12)).transpose(1, 2) for part in self.kv(memory).chunk(2, -1))
        return x + self.out(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    """`torch.nn.TransformerDecoder`, causal, with a mask of the other sequence's tokens."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerDecoderLayer(24, 2, 40, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(7))

    def forward(self, x, memory, hidden):
        return self.decoder(x, memory, self.causal, memory_key_padding_mask=hidden, tgt_is_causal=True)


def values(seed, *sizes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *size, generator=generator) for size in sizes]


def ids(seed, tokens):
    return torch.randint(1, 60, (2, tokens), generator=torch.Generator().manual_seed(seed))


def visible(seed, tokens):
    """Bool [2, tokens]: the first few are."""
    return torch.arange(tokens) < torch.randint(1, tokens + 1, (2, 1), generator=torch.Generator().manual_seed(seed))


MODELS = {
    "by hand": (Crossed, lambda s: (tuple(values(s, (5, 20), (13, 26))), {})),
    "TransformerDecoder": (Decoder, lambda s: ((*values(s, (7, 24), (11, 24)), ~visible(s, 11)), {})),
    "Transformer": (lambda: nn.Transformer(24, 2, 1, 1, 40, batch_first=True),
                    lambda s: (tuple(values(s, (9, 24), (6, 24))), {})),
    "BERT": (lambda: hf.BertModel(hf.BertConfig(**BERT), add_pooling_layer=False), lambda s: ((), {
        "input_ids": ids(s, 7), "encoder_hidden_states": values(s, (11, 24))[0],
        "encoder_attention_mask": visible(s, 11).long(), "use_cache": False})),
    "BART": (lambda: hf.BartForConditionalGeneration(hf.BartConfig(**PAIR)), lambda s: ((), {
        "input_ids": ids(s, 9), "attention_mask": visible(s, 9).long(), "decoder_input_ids": ids(s + 1, 5),
        "use_cache": False})),
    "Whisper": (lambda: hf.WhisperForConditionalGeneration(hf.WhisperConfig(
        **PAIR, num_mel_bins=7, max_source_positions=10, max_target_positions=16, bos_token_id=1, eos_token_id=2)),
        lambda s: ((), {"input_features": values(s, (7, 20))[0], "decoder_input_ids": ids(s, 5), "use_cache": False})),
}


def made(name):
    """Model with weights as large as trained ones, and a function of a seed that gives its arguments."""
    make, data = MODELS[name]
    torch.manual_seed(len(name))
    model = make().eval()
    if isinstance(model, hf.PreTrainedModel):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3 if parameter.ndim > 1 else 1)
    return model, data


@pytest.mark.parametrize("name", MODELS)
def test_golden_model_equals_the_quantized_graph_and_is_close_to_float(name):
    model, data = made(name)
    config = weft.Config.named("small")
    batches = [data(seed) for seed in range(0, 20, 2)]
    graph = quantize(import_model(model, *batches[0]), batches, key_block=config.key_block, wide_block=config.panel)
    program = Program.from_lowered(lower(graph, config), graph.host)
    args, kwargs = data(99)
    found = program.run(args, kwargs).outputs[0]
    inputs, state = graph.host.prepare(args, kwargs)
    np.testing.assert_array_equal(found, graph.host.finish(graph.run(inputs), state)[0])
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(model(*args, **kwargs))[0].numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 0.08 * np.abs(wanted).mean()


def test_rtl_writes_the_same_bytes():
    model, data = made("Whisper")
    (_, kwargs), single = data(0), {}
    for name, value in kwargs.items():
        single[name] = value[:1] if isinstance(value, torch.Tensor) else value
    weft.compile(model, (), single, config="tiny").verify((), single)      # raises where any byte differs


def test_a_position_bias_in_the_scores_is_refused_with_its_place():
    model = hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=60, d_model=24, d_kv=12, d_ff=40, num_layers=1,
                                                      num_heads=2, use_cache=False))
    with pytest.raises(weft.CompileError) as stop:
        weft.compile(model, (), {"input_ids": ids(0, 7), "decoder_input_ids": ids(1, 5), "use_cache": False},
                     config="tiny")
    text = str(stop.value)
    assert "position bias" in text and "encoder.block.0.layer.0.SelfAttention (scaled_dot_product_attention)" in text
    assert "\n" not in text and len(text) < 250


def test_a_decoder_of_two_sequences_is_refused_in_one_sentence():
    model = hf.BartForConditionalGeneration(hf.BartConfig(**PAIR))
    with pytest.raises(weft.CompileError, match="operator .* in module model ") as stop:
        weft.compile_decoder(model, config="tiny", max_length=8, calibration=[ids(0, 8)])
    assert "\n" not in str(stop.value)
