"""Decoders of Hugging Face with the cache, unchanged: sizes that are a multiple of nothing, heads of 8 to 128 features."""

import numpy as np
import pytest
import torch
import transformers as hf

import weft

LENGTH, VOCABULARY = 29, 31
IDS = np.random.default_rng(1).integers(0, VOCABULARY, LENGTH)
NO_ENDS = dict(bos_token_id=None, eos_token_id=None, pad_token_id=None)
GPT2 = dict(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, **NO_ENDS)
#: More positions than the program has, and two that come before the first.
OPT = dict(vocab_size=VOCABULARY, hidden_size=18, ffn_dim=33, num_hidden_layers=1, num_attention_heads=2,
           max_position_embeddings=40, **NO_ENDS)
#: Two query heads share a key head; features turn by position.
ROTARY = dict(vocab_size=VOCABULARY, hidden_size=24, intermediate_size=41, num_hidden_layers=1, num_attention_heads=2,
              num_key_value_heads=1, max_position_embeddings=LENGTH, **NO_ENDS)
MODELS = {
    "GPT-2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)),
    "GPT-2, own output weights": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2 | dict(
        n_embd=39, n_head=3, n_inner=50, tie_word_embeddings=False, activation_function="relu"))),
    "OPT": lambda: hf.OPTForCausalLM(hf.OPTConfig(**OPT, word_embed_proj_dim=18)),
    "OPT, post-norm, narrow embeddings": lambda: hf.OPTForCausalLM(hf.OPTConfig(
        **OPT, word_embed_proj_dim=10, do_layer_norm_before=False)),
    "Llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**ROTARY)),
    "Llama, heads of 128": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**ROTARY, head_dim=128)),
    "Llama, 6 heads of 8 on 3": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**ROTARY | dict(
        hidden_size=30, head_dim=8, num_attention_heads=6, num_key_value_heads=3, tie_word_embeddings=True,
        attention_bias=True, mlp_bias=True))),
    "Qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**ROTARY)),
    "Qwen2, 4 heads of 20 on 1": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**ROTARY | dict(
        hidden_size=80, num_attention_heads=4, tie_word_embeddings=True))),
}


def made(name):
    """Biases and norms are drawn too: those of new models are 0 and 1."""
    torch.manual_seed(3)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.mul_(3)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_prefill_then_decode_equals_decode_alone_and_is_close_to_float(name):
    model = made(name)
    program = weft.compile_decoder(model, config="tiny", max_length=LENGTH, calibration=[IDS[:20], IDS[None]])
    # To the last position, and over the end of a run of the prefill program.
    session = program.session("golden")
    found = np.concatenate([session.step(IDS[:11]), session.step(IDS[11:12]), session.step(IDS[12:-1]),
                            session.step(IDS[-1:])])
    alone = program.session("golden")
    np.testing.assert_array_equal(np.concatenate([alone.step([token]) for token in IDS]), found)
    with torch.no_grad():
        wanted = model(torch.as_tensor(IDS)[None], use_cache=False).logits[0].numpy()
    assert found.shape == wanted.shape == (LENGTH, VOCABULARY)
    assert np.linalg.norm(found - wanted) < 0.08 * np.linalg.norm(wanted)


def test_rtl_writes_the_same_bytes():
    program = weft.compile_decoder(made("Qwen2"), config="tiny", max_length=LENGTH, calibration=[IDS])
    session = program.session("verify")     # raises where any byte differs
    session.step(IDS[:10])
    session.step(IDS[10:11])
