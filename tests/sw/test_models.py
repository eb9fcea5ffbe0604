"""The models that ship: what they reach in float, and how large they are."""

import re

import pytest
import torch

from weft.hw.errors import InputError
from weft.models import character_tokenizer, digits, folder, shakespeare
from weft.train.digits import accuracy, load_images
from weft.train.shakespeare import loss

# Our own, so in no text that the model was trained on.
SCENE = """CLERK:
Good morrow, sir. What brings you to the gate?

MERCHANT:
A cart of cloth, and letters to the duke;
The road was long, my lord, and I am cold.

CLERK:
Then come within, and speak before the fire.
"""


def test_digits_reach_their_accuracy():
    _, images, _, labels = load_images()
    assert len(labels) == 360
    assert accuracy(digits(), images, labels) >= 0.97


def test_shakespeare_predicts_verse_far_better_than_chance():
    model, tokenizer = shakespeare()
    ids = torch.tensor(tokenizer.encode(SCENE).ids)
    # The entropy of letters alone is 3.3 nats on such a text; held-out Shakespeare has 1.49.
    assert loss(model, ids) < 1.9
    assert loss(model, ids.flip(0)) > 3
    assert tokenizer.decode(ids.tolist()) == SCENE


def test_shakespeare_writes_names_and_lines():
    model, tokenizer = shakespeare()
    prompt = torch.tensor([tokenizer.encode("ROMEO:\n").ids])
    text = tokenizer.decode(model.generate(prompt, max_new_tokens=60, do_sample=False)[0].tolist())
    assert len(text) == 67 and re.search(r"\bthe\b", text), text


@pytest.mark.parametrize("name, fewest, most, size_limit", [("digits", 50_000, 150_000, 400_000),
                                                            ("shakespeare", 500_000, 1_000_000, 2_000_000)])
def test_sizes_keep_to_their_limits(name, fewest, most, size_limit):
    model = digits() if name == "digits" else shakespeare()[0]
    assert fewest <= sum(parameter.numel() for parameter in model.parameters()) <= most
    assert sum(path.stat().st_size for path in folder(name).iterdir()) <= size_limit


def test_shakespeare_has_grouped_queries_and_rotary_embedding():
    config = shakespeare()[0].config
    assert config.num_attention_heads == 2 * config.num_key_value_heads
    assert config.max_position_embeddings == 256 and config.rope_parameters["rope_theta"] > 0


def test_characters_there_and_back():
    tokenizer = character_tokenizer("b a\n\tä ")
    assert tokenizer.get_vocab_size() == 6
    assert tokenizer.encode("\t\n ab").ids == [0, 1, 2, 3, 4]
    assert tokenizer.decode([5, 1, 2, 3]) == "ä\n a"


def test_unknown_characters_are_read_as_spaces():
    _, tokenizer = shakespeare()
    assert tokenizer.encode("M\u00fcll 7").ids == tokenizer.encode("M ll  ").ids


def test_a_model_that_does_not_ship_is_named():
    with pytest.raises(InputError, match="no model 'hamlet' ships"):
        folder("hamlet")
