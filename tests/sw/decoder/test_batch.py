"""Many texts side by side on the golden model."""

import numpy as np
import pytest

from weft.decoder.batch import golden_logits
from weft.hw.errors import InputError

LENGTH, VOCABULARY = 29, 31


@pytest.mark.parametrize("texts, tokens", [(3, LENGTH), (18, 2)])
def test_the_bits_are_those_of_a_session(program, texts, tokens):
    ids, done = np.random.default_rng(tokens).integers(0, VOCABULARY, (texts, tokens)), []
    logits = golden_logits(program, ids, progress=done.append)
    assert logits.shape == (texts, tokens, VOCABULARY) and logits.dtype == np.float32 and sum(done) == texts
    for number in {0, texts - 1}:
        np.testing.assert_array_equal(logits[number], program.session("golden").step(ids[number]))


@pytest.mark.parametrize("ids, words", [
    (np.zeros((2, LENGTH + 1), int), r"\[texts, 1 to 29\], not int64\[2, 30\]"), (np.zeros(3, int), r"int64\[3\]"),
    (np.zeros((1, 3)), "float64"), (np.full((1, 2), VOCABULARY), "from 31 to 31 are out of range: .* 31 entries")])
def test_other_ids_are_refused(program, ids, words):
    with pytest.raises(InputError, match=words):
        golden_logits(program, ids)
