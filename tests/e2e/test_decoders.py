"""Causal decoders with random weights through the whole path, computed as whole sequences."""

import numpy as np
import pytest
import torch
from lowering_graphs import golden_outputs

import weft
from weft.frontend import import_model
from weft.lower import lower
from weft.quantize import quantize

transformers = pytest.importorskip("transformers")

CONFIGS = {
    "tiny": weft.Config.named("tiny"),
    "base": weft.Config.named("base"),
    "8x12": weft.Config(rows=8, cols=12),
    "5x7": weft.Config(rows=5, cols=7),
}
TOKENS, VOCABULARY = 11, 61
GROUPED = dict(hidden_size=32, intermediate_size=44, num_attention_heads=4, num_key_value_heads=2)
SMALL = dict(hidden_size=32, word_embed_proj_dim=32, ffn_dim=40, num_attention_heads=4)
#: Model, configuration, sizes, decibels between float and golden logits.
DECODERS = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", dict(n_positions=24, n_embd=32, n_head=4, n_layer=2), 30),
    "opt": ("OPTForCausalLM", "OPTConfig", dict(**SMALL, num_hidden_layers=2, max_position_embeddings=24), 28),
    "llama": ("LlamaForCausalLM", "LlamaConfig", dict(**GROUPED, num_hidden_layers=2), 25),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", dict(**GROUPED, num_hidden_layers=2, tie_word_embeddings=True), 30),
}


def decoder(name):
    """``(model, batches of (args, kwargs))`` with random weights."""
    torch.manual_seed(0)
    kind, configuration, size, _ = DECODERS[name]
    model = getattr(transformers, kind)(getattr(transformers, configuration)(vocab_size=VOCABULARY, **size)).eval()
    return model, [((), {"input_ids": torch.randint(0, VOCABULARY, (1, TOKENS)), "use_cache": False}) for _ in range(6)]


@pytest.mark.parametrize("name", DECODERS)
def test_golden_model_equals_the_quantized_graph_and_is_close_to_float(name):
    model, batches = decoder(name)
    imported = import_model(model, *batches[0])
    for config in CONFIGS.values():
        graph = quantize(imported, batches[1:], key_block=config.key_block)
        inputs, context = graph.host.prepare(*batches[0])
        expected = graph.run(inputs)
        for tensor, values in golden_outputs(lower(graph, config), inputs).items():
            np.testing.assert_array_equal(values, expected[tensor])
    with torch.no_grad():
        wanted = model(**batches[0][1]).logits.numpy()
    found = graph.host.finish(expected, context)[0]
    assert found.shape == wanted.shape and found.dtype == np.float32
    noise = 10 * np.log10((wanted**2).mean() / ((found - wanted) ** 2).mean())
    assert noise > DECODERS[name][3]


def test_rtl_writes_the_same_bytes():
    model, batches = decoder("llama")
    program = weft.compile(model, *batches[0], config="tiny", calibration=batches[1:])
    result = program.verify(*batches[0])        # raises where any byte differs
    np.testing.assert_array_equal(result.outputs[0], program.run(*batches[0]).outputs[0])
