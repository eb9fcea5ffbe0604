"""The character model that ships: perplexity, generation."""

import numpy as np
import pytest
import torch

from weft.accuracy import language
from weft.hw.errors import InputError
from weft.models.programs import own_texts

LINES = "CLERK:\nGood morrow, sir. What brings you to the gate?\n\nMERCHANT:\nA cart of cloth, and letters to the duke;\n"


def test_cross_entropy_is_that_of_torch():
    rng = np.random.default_rng(0)
    logits, ids = rng.standard_normal((3, 7, 5)).astype(np.float32), rng.integers(0, 5, (3, 7))
    wanted = torch.nn.functional.cross_entropy(torch.tensor(logits[:, :-1]).flatten(0, 1), torch.tensor(ids[:, 1:]).flatten())
    assert language.cross_entropy(logits, ids) == pytest.approx(wanted.item(), rel=1e-6)


def test_same_beginning():
    assert language.same_beginning([1, 2, 3], [1, 2, 4, 5]) == 2
    assert language.same_beginning([1, 2], [1, 2, 4]) == 2 and language.same_beginning([], [1]) == 0


def test_perplexity_stays_close_to_float(figures, tmp_path):
    (tmp_path / "text.txt").write_text(LINES * 60)
    found = figures("perplexity", "--data", tmp_path / "text.txt", "--limit", 1)
    assert found["windows"] == 1 and found["characters"] == 255
    assert 1 < found["perplexity_float"] < 15 and abs(found["increase_percent"]) < 2
    assert found["logits_snr_db"] > 25


def test_a_text_too_short_is_named(figures, tmp_path):
    (tmp_path / "text.txt").write_text(LINES)
    with pytest.raises(InputError, match="has 11 characters; at least 256"):
        figures("perplexity", "--data", tmp_path / "text.txt")


def test_generation_counts_equal_beginnings(figures, monkeypatch):
    monkeypatch.setattr(language, "PROMPTS", ("ROMEO:\n", "The "))
    found = figures("generation", "--max-new-tokens", 3, "--rtl", 0)
    assert found["prompts"] == 2 and len(found["first_tokens_equal_to_float"]) == 2 and found["rtl_tokens"] == 0
    assert all(0 <= n <= 3 for n in found["first_tokens_equal_to_float"]) and "exact" not in found


def test_own_texts_are_the_models_and_leave_random_numbers_alone():
    from weft.models import shakespeare

    model, tokenizer = shakespeare()
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    ids = own_texts(model, 0, 24, texts=2)
    assert torch.equal(torch.rand(1), wanted)
    assert ids.shape == (2, 24) and (ids[:, 0] == 0).all() and not (ids[0] == ids[1]).all()
    np.testing.assert_array_equal(ids, own_texts(model, 0, 24, texts=2))
    assert own_texts(model, 3, 1, texts=2).tolist() == [[3], [3]]
