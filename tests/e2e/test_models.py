"""Models with random weights through the whole path: float close to golden model, quantized graph equal to it."""

import numpy as np
import pytest
import torch
from lowering_graphs import golden_outputs

import weft
from weft.frontend import import_model
from weft.lower import lower
from weft.quantize import quantize

CONFIGS = {
    "tiny": weft.Config.named("tiny"),
    "small": weft.Config.named("small"),
    "8x12": weft.Config(rows=8, cols=12),
    "5x7": weft.Config(rows=5, cols=7),
    "large": weft.Config.named("large"),
}
#: hidden, layers, heads, ffn, batch, tokens: nothing a multiple of anything, one head, one token, several layers.
SHAPES = {
    "odd": (30, 1, 3, 50, 2, 11),
    "one head": (24, 1, 1, 40, 1, 9),
    "one token": (24, 1, 2, 40, 1, 1),
    "two layers": (48, 2, 4, 96, 1, 21),
}


def check_program(model, batches, config):
    graph = quantize(import_model(model, *batches[0]), batches, key_block=config.key_block, wide_block=config.panel)
    inputs, _ = graph.host.prepare(*batches[1])
    expected = graph.run(inputs)
    for name, values in golden_outputs(lower(graph, config), inputs).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("config", CONFIGS)
def test_program_computes_the_quantized_graph(bert, sentences, config, shape):
    hidden, layers, heads, ffn, batch, tokens = SHAPES[shape]
    check_program(bert(hidden, layers, heads, ffn), sentences(2, batch, tokens), CONFIGS[config])


@pytest.mark.parametrize("config", [
    # Two jobs of 14 rows that begin anywhere leave no room for a third.
    weft.Config(rows=12, cols=8, scratchpad_kib=128, state_rows=32),
    # Keys and values of a block fit once, not twice.
    weft.Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4),
], ids=["few states", "little scratchpad"])
def test_attention_in_small_memories(bert, sentences, config):
    check_program(bert(100, 1, 2, 160), sentences(2, 1, 40), config)


def test_outputs_are_close_to_the_float_model(bert, sentences):
    model, batches = bert(48, 2, 4, 96), sentences(8, 2, 16)
    program = weft.compile(model, *batches[0], config="small", calibration=batches)
    for args, kwargs in sentences(3, 2, 16, seed=1):
        with torch.no_grad():
            wanted = model(**kwargs)[0].numpy()
        found = program.run(args, kwargs).outputs[0]
        mask = kwargs["attention_mask"].numpy().astype(bool)
        assert found.shape == wanted.shape and found.dtype == np.float32
        error, scale = np.abs(found - wanted)[mask].mean(), np.abs(wanted)[mask].mean()
        assert error < 0.08 * scale


@pytest.mark.parametrize("config", ["tiny", *(pytest.param(name, marks=pytest.mark.large)
                                               for name in CONFIGS if name != "tiny")])
def test_rtl_writes_the_same_bytes(bert, sentences, rtl_machine, config):
    batches = sentences(2, 1, 10)
    program = weft.compile(bert(), *batches[0], config=CONFIGS[config], calibration=batches)
    program._rtl = rtl_machine(CONFIGS[config])     # programs of few cycles: a simulation that is quick to build
    result = program.verify(*batches[1])
    np.testing.assert_array_equal(result.outputs[0], program.run(*batches[1]).outputs[0])
    stats = result.stats
    assert stats.cycles > stats.roofline_cycles > 0
    assert stats.utilization == pytest.approx(
        stats.macs / (CONFIGS[config].rows * CONFIGS[config].cols * stats.cycles))
    assert set(stats.engines) == {"load", "weights", "tensor", "vector", "store"}
    # Random latency may be shorter than the reference memory's: a short program may take fewer cycles, not as many.
    stress = program.verify(*batches[1], memory="stress", seed=3)
    assert stress.stats.cycles != stats.cycles


def test_a_mismatch_is_found(bert, sentences):
    """Golden model and RTL with different weights must not pass."""
    batches = sentences(2, 1, 10)
    program = weft.compile(bert(), *batches[0], config="tiny", calibration=batches)
    program._golden_machine()
    other = program.image.constant.copy()
    other[:2000] ^= 1
    program._golden_machine().run(program._pack(*batches[1])[0])
    program.image.constant = other
    with pytest.raises(weft.Mismatch, match="instruction"):
        program.verify(*batches[1])
