"""all-MiniLM-L6-v2 with its real weights on the RTL of ``base``: every byte equal to the golden model."""

import numpy as np
import pytest

import weft
from weft import text

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


def check(program, sentences):
    for number, sentence in enumerate(sentences):
        args, kwargs = text.encode(program, sentence)
        result = program.verify(args, kwargs)
        # Cycles do not depend on the data; 0.9486 was measured.
        assert result.stats.utilization > 0.94
        stressed = program.verify(args, kwargs, memory="stress", seed=number)
        assert stressed.stats.cycles > result.stats.cycles
        for left, right in zip(result.outputs, stressed.outputs, strict=True):
            np.testing.assert_array_equal(left, right)


def test_two_sentences_on_both_memories(program):
    check(program, [SENTENCES[0], SENTENCES[3]])


@pytest.mark.large
def test_sixteen_sentences_on_both_memories(program):
    check(program, SENTENCES)


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
