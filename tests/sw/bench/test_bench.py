"""Benches on small shapes: products and rooflines worked out by hand, and what a wrong byte does."""

from dataclasses import replace

import numpy as np
import pytest

import weft
from weft.bench import MODELS, bench_attention, bench_ffn, bench_gemm, bench_mha, bench_model
from weft.bench.figures import no_words
from weft.hw.errors import InputError
from weft.sim.golden import GoldenMachine
from weft.bench.options import with_choices

TINY = weft.Config.named("tiny")
#: Both ways of storing weights, so that one simulation serves the tests of either.
STORED = replace(TINY, four_bit=True, circulant=(4,))
DECODER = dict(layers=1, hidden=16, heads=2, vocabulary=40, positions=24)


@pytest.fixture
def wrong_golden(monkeypatch):
    """The golden model with one bit of what it stores turned."""
    run = GoldenMachine.run

    def turned(self, *arguments, **options):
        result = run(self, *arguments, **options)
        result.store_log.data[..., -1, 0] ^= 1
        return result

    monkeypatch.setattr(GoldenMachine, "run", turned)


def cycles(macs, moved):
    """The roofline of tiny: 16 products and 4 bytes a cycle."""
    return max(-(-macs // 16), -(-moved // 4))


@pytest.mark.parametrize("made, macs, moved", [
    (lambda: bench_gemm(9, 20, 12, TINY), 9 * 20 * 12, 9 * 20 + 20 * 12 + 9 * 12),
    (lambda: bench_gemm(1, 40, 12, TINY), 40 * 12, 40 + 40 * 12 + 12),
    (lambda: bench_attention(2, 12, 8, TINY), 2 * 2 * 12 * 12 * 8, 4 * 12 * 16),
    (lambda: bench_attention(2, 12, 8, TINY, causal=True), 2 * 2 * 78 * 8, 4 * 12 * 16),
    (lambda: bench_mha(1, 8, 20, 12, TINY), 4 * 8 * 20 * 12 + 2 * 8 * 8 * 12, 4 * 20 * 12 + 2 * 8 * 20),
], ids=["gemm", "row", "attention", "causal", "mha"])
def test_operators_count_products_and_bytes(made, macs, moved):
    figures = made()
    assert figures["exact"] is True and "difference" not in figures
    assert figures["macs"] == macs and figures["roofline_cycles"] == cycles(macs, moved)
    assert figures["cycles"] > figures["roofline_cycles"]
    assert figures["utilization"] == round(macs / (16 * figures["cycles"]), 4)
    assert figures["roofline_utilization"] == round(figures["roofline_cycles"] / figures["cycles"], 4)


@pytest.mark.parametrize("weights, name", [("w4g32", "tiny four_bit"), ("circulant:4", "tiny circulant=4")])
def test_a_product_on_a_named_configuration_gets_what_its_weights_need(monkeypatch, weights, name):
    monkeypatch.setattr("weft.bench.operators.program_figures", lambda program, *given: {"config": program.config.name})
    assert bench_gemm(1, 160, 12, TINY, weights=weights)["config"] == name


def test_four_bit_weights_count_as_stored():
    figures = bench_gemm(1, 160, 12, STORED, weights="w4g32")
    stored = (160 * 12 + 5 * 12) // 2
    assert figures["exact"] is True and figures["config"] == STORED.name and figures["weights"] == "w4g32"
    assert figures["macs"] == 160 * 12 and figures["roofline_cycles"] == cycles(160 * 12, 160 + stored + 12)


def test_circulant_weights_count_as_stored():
    figures = bench_gemm(1, 160, 12, STORED, weights="circulant:4")
    assert figures["exact"] is True and figures["config"] == STORED.name and figures["weights"] == "circulant:4"
    assert figures["macs"] == 160 * 12 and figures["roofline_cycles"] == cycles(160 * 12, 160 + 160 * 12 // 4 + 12)


@pytest.mark.parametrize("config, weights, message", [
    (TINY, "circulant:8", r"circulant:8 weights: blocks of 8 do not divide n \(12\)"),
    (weft.Config(rows=8, cols=6), "circulant:4", r"blocks of 4 do not divide cols \(6\)"),
    (weft.Config(rows=16, cols=4, circulant=(4,)), "circulant:8", r"blocks of 8 do not divide n \(12\)"),
    (weft.Config(rows=12, cols=4), "circulant:4",
     r"circulant:4 weights need a configuration with circulant=\[4\], 12x4 is without"),
    (weft.Config(rows=5, cols=7), "2:4", "2:4 weights need a configuration with sparsity=2:4, 5x7 is without"),
    (weft.Config(rows=4, cols=4, sparsity="2:4"), "1:4",
     "1:4 weights need a configuration with sparsity=1:4, tiny sparsity=2:4 is without"),
    (weft.Config(rows=5, cols=7), "w4g28", "w4g28 weights need a configuration with four_bit, 5x7 is without"),
    (TINY, "w4g33", "half of a tile of 4 rows has inputs of two groups of 33"),
    (TINY, "w4g8", "weights must be dense, 2:4, 1:4, w4g16 to w4g128, or circulant:4, circulant:8, circulant:16, not 'w4g8'"),
    (TINY, "int4", "weights must be dense, 2:4, 1:4, w4g16 to w4g128, or circulant:4, circulant:8, circulant:16, not 'int4'"),
])
def test_weights_that_a_configuration_does_not_take(config, weights, message):
    with pytest.raises(InputError, match=message):
        bench_gemm(1, 160, 12, config, weights=weights)


def test_decoding_counts_one_token(monkeypatch):
    monkeypatch.setattr("weft.bench.models.POSITIONS", 16)
    figures = MODELS["gpt2-decode"].measure(7, TINY, no_words, **DECODER)
    weights = 12 * 16 * 16 + 16 * 40
    assert figures["exact"] is True
    assert figures["macs"] == weights + 8 * 2 * 16
    # Weights; the token's id, two embeddings and logits; keys and values of 8 positions.
    assert figures["roofline_cycles"] == cycles(figures["macs"], weights + 4 + 2 * (16 + 16 + 40) + 8 * 2 * 16)


def test_decoding_with_circulant_blocks_counts_them_as_stored(monkeypatch):
    monkeypatch.setattr("weft.bench.models.POSITIONS", 16)
    figures = MODELS["gpt2-circulant-decode"].measure(7, STORED, no_words, block=4, **DECODER)
    assert figures["exact"] is True and figures["config"] == STORED.name
    assert figures["macs"] == 12 * 16 * 16 + 16 * 40 + 8 * 2 * 16
    stored = 12 * 16 * 16 // 4 + 16 * 40
    assert figures["roofline_cycles"] == cycles(figures["macs"], stored + 4 + 2 * (16 + 16 + 40) + 8 * 2 * 16)


def test_four_bit_models_have_the_roofline_of_what_is_stored(monkeypatch):
    monkeypatch.setattr("weft.bench.models.POSITIONS", 16)
    figures = MODELS["gpt2-decode"].measure(7, STORED, no_words, {"*": "w4g16"}, **DECODER)
    weights = 12 * 16 * 16 + 16 * 40
    assert figures["exact"] is True and figures["macs"] == weights + 8 * 2 * 16 and figures["skipped_macs"] == 0
    assert figures["roofline_cycles"] == cycles(0, weights // 2 + weights // 32 + 4 + 2 * (16 + 16 + 40) + 8 * 2 * 16)


@pytest.mark.parametrize("quantization, name", [
    (None, "tiny"), ({"*": "w8"}, "tiny"), ("w4g16", "tiny four_bit"), ({"*": "2:4"}, "tiny sparsity=2:4"),
    ({"*": {"weights": "circulant:4"}, "head": {"migration": 0}}, "tiny circulant=4"),
    ({"a": "2:4", "b": "1:4", "c": "circulant:4", "d": "w4g32", "e": "2:4"}, "tiny four_bit circulant=4 sparsity=1:4"),
])
def test_a_named_configuration_gets_what_chosen_formats_need(quantization, name):
    config = with_choices(TINY, quantization)
    assert config.name == name and with_choices(config, quantization) == config


def test_so_do_formats_of_a_model_and_chosen_ones_together():
    assert with_choices(TINY, {"*": "w4g32"}, "2:4").name == "tiny four_bit sparsity=2:4"
    assert MODELS["gpt2-circulant-decode"].formats == ("circulant:8",)


@pytest.mark.parametrize("config, quantization, message", [
    (weft.Config(rows=5, cols=7), "w4g16", "w4g16 weights need a configuration with four_bit, 5x7 is without"),
    (weft.Config(rows=12, cols=4), {"*": "2:4"}, "2:4 weights need a configuration with sparsity=2:4, 12x4 is without"),
    (weft.Config(rows=8, cols=16, circulant=(4,)), {"*": "circulant:8"},
     r"circulant:8 weights need a configuration with circulant=\[4, 8\], 8x16 circulant=4 is without"),
    (TINY, {"*": "circulant:8"}, r"circulant:8 weights: blocks of 8 do not divide rows \(4\)"),
])
def test_another_configuration_must_have_it(config, quantization, message):
    with pytest.raises(InputError, match=message):
        bench_model("shakespeare-decode", config=config, quantization=quantization)


def test_zero_tiles_cost_no_cycles():
    dense, half = (bench_gemm(24, 64, 32, TINY, zero_tiles=share) for share in (0.0, 0.5))
    assert dense["exact"] and half["exact"] and half["macs"] == half["skipped_macs"] == dense["macs"] // 2
    assert half["weight_bytes"] * 2 == dense["weight_bytes"] == 64 * 32 and half["weight_share"] == 0.5
    assert dense["cycles"] > 1.6 * half["cycles"] and half["array_macs"] * 2 == dense["array_macs"]


def test_prefill_adds_up_its_runs(monkeypatch):
    monkeypatch.setattr("weft.bench.models.POSITIONS", 16)
    figures = MODELS["gpt2-prefill"].measure(11, TINY, no_words, **DECODER)
    assert figures["exact"] is True
    assert figures["macs"] == 11 * (12 * 16 * 16 + 16 * 40) + 66 * 2 * 16


def test_encoders_and_vision_models():
    figures = MODELS["bert-base"].measure(6, TINY, no_words, layers=1, hidden=16, heads=2, vocabulary=40)
    assert figures["exact"] is True and figures["macs"] == 6 * 12 * 16 * 16 + 2 * 6 * 6 * 16


def test_a_difference_is_not_exact(wrong_golden, monkeypatch):
    figures = bench_gemm(5, 8, 8, TINY)
    assert figures["exact"] is False and "golden model" in figures["difference"] and figures["cycles"] > 0
    monkeypatch.setattr("weft.bench.models.POSITIONS", 16)
    for name in ("gpt2-prefill", "gpt2-decode"):
        figures = MODELS[name].measure(5, TINY, no_words, **DECODER)
        assert figures["exact"] is False and figures["cycles"] > 0


@pytest.mark.parametrize("name, seq, words", [
    ("nowhere", 8, "no model 'nowhere'.*bert-base.*folder"),
    (".", None, "number of tokens is missing"),
    ("vit-tiny", 64, "takes 197 to 197 tokens, not 64"),
    ("bert-base", 513, "1 to 512 tokens, not 513"),
    ("gpt2-decode", 1024, "1 to 1023 tokens"),
])
def test_what_does_not_exist_is_refused(name, seq, words):
    with pytest.raises(InputError, match=words):
        bench_model(name, seq, config=TINY)


def test_random_models_have_the_sizes_of_their_names_and_weights_of_trained_ones():
    from weft.bench import zoo

    model = zoo.vit_tiny(layers=1)
    again = zoo.vit_tiny(layers=1)
    assert sum(p.numel() for p in zoo.vit_tiny().parameters()) == 5_717_416      # DeiT-Tiny's
    for (name, one), two in zip(model.named_parameters(), again.parameters(), strict=True):
        assert (one == two).all(), name
        assert one.std() > 0.01 or "token" in name or "position" in name, name
    assert np.isfinite(model(pixel_values=zoo.random_images((1, 3, 224, 224))).logits.detach().numpy()).all()


def test_pruned_neurons_cost_no_cycles():
    dense, pruned = (bench_ffn(24, 16, 128, TINY, pruned=share) for share in (0.0, 0.5))
    assert dense["exact"] and pruned["exact"] and pruned["macs"] * 2 == dense["macs"] == 2 * 24 * 16 * 128
    assert dense["cycles"] > 1.75 * pruned["cycles"]


@pytest.mark.parametrize("name, config, weights, message", [
    ("minilm", TINY, "2:4", "model minilm with 2:4 weights: bert-base, vit-tiny can be measured with 2:4 or 1:4 weights"),
    ("bert-base", TINY, "w4g32", "model bert-base with w4g32 weights: bert-base, vit-tiny can be measured"),
    ("bert-base", weft.Config(rows=5, cols=7), "1:4", "1:4 weights need a configuration with sparsity=1:4, 5x7 is without"),
])
def test_models_that_cannot_be_pruned(name, config, weights, message):
    with pytest.raises(InputError, match=message):
        bench_model(name, config=config, weights=weights)
