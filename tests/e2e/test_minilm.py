"""all-MiniLM-L6-v2 with its real weights: every byte of the RTL of ``base`` and ``large`` equal to the golden model's."""

import numpy as np
import pytest
from lowering_graphs import golden_outputs

import weft
from weft import text
from weft.frontend import import_model
from weft.lower import lower
from weft.quantize import quantize
from weft.sim.rtl import RtlMachine

SENTENCES = [
    "A man plays the guitar on a bridge.",
    "Rain.",
    "The committee postponed its vote until the auditors have finished their second report.",
    "Two dogs are running through the snow, and a child is laughing at them from behind the fence of the school.",
    "Is the museum open on Mondays?",
    "Shares of the airline fell 4.2 % on Thursday.",
    "She poured the milk into the bowl and stirred.",
    "A red car is parked in front of the old bakery.",
    "How many moons does Jupiter have?",
    "The striker scored twice in the last ten minutes.",
    "Solar panels cover the roof of the new library.",
    "He forgot his umbrella on the train.",
    "A group of tourists is taking photographs of a waterfall.",
    "The vaccine will be available from March on, the ministry said.",
    "Slice the onions, then fry them in butter until they are soft.",
    "Nobody knows who painted it!",
]


@pytest.fixture(scope="module")
def program():
    return text.compile_folder(text.minilm_folder(), 32, weft.Config.named("base"))


def test_a_sentence_on_each_memory(program, rtl_machine):
    machine = rtl_machine(program.config)       # two sentences take less time than a build for speed
    result = program.verify(*text.encode(program, SENTENCES[0]), machine=machine)
    # Cycles do not depend on the data; 0.9486 was measured.
    assert result.stats.utilization > 0.94
    stressed = program.verify(*text.encode(program, SENTENCES[3]), memory="stress", seed=1, machine=machine)
    assert stressed.stats.cycles > result.stats.cycles


@pytest.mark.large
def test_sixteen_sentences_on_both_memories(program):
    for number, sentence in enumerate(SENTENCES):
        args, kwargs = text.encode(program, sentence)
        result = program.verify(args, kwargs)
        assert result.stats.utilization > 0.94
        stressed = program.verify(args, kwargs, memory="stress", seed=number)
        assert stressed.stats.cycles > result.stats.cycles
        for left, right in zip(result.outputs, stressed.outputs, strict=True):
            np.testing.assert_array_equal(left, right)


def test_embeddings_are_close_to_the_float_model(program):
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    model = AutoModel.from_pretrained(text.minilm_folder()).eval()
    for sentence in SENTENCES[:6]:
        args, kwargs = text.encode(program, sentence)
        found = program.run(args, kwargs).outputs[0][0].mean(axis=0)
        with torch.no_grad():
            inputs = {name: torch.as_tensor(np.asarray(values)) for name, values in kwargs.items()}
            wanted = model(*map(torch.as_tensor, args), **inputs)[0][0].mean(dim=0).numpy()
        cosine = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert cosine > 0.99


@pytest.mark.large
@pytest.mark.parametrize("name", ["tiny", "large"])
def test_program_computes_the_quantized_graph(name):
    config = weft.Config.named(name)
    model = text.load_folder(text.minilm_folder())
    batches = [((), model.inputs(sentence, 32)) for sentence in SENTENCES[:4]]
    graph = quantize(import_model(model.module, *batches[0]), batches, key_block=config.key_block, wide_block=config.panel)
    inputs, _ = graph.host.prepare(*batches[3])
    expected = graph.run(inputs)
    for output, values in golden_outputs(lower(graph, config), inputs).items():
        np.testing.assert_array_equal(values, expected[output])


@pytest.mark.large
def test_one_sentence_on_large():
    program = text.compile_folder(text.minilm_folder(), 32, weft.Config.named("large"))
    program._rtl = RtlMachine(program.config, optimize="build")
    result = program.verify(*text.encode(program, SENTENCES[3]))
    # Cycles do not depend on the data; at least 0.840 was measured.
    assert result.stats.utilization > 0.83
