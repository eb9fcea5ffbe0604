"""Classifiers of images and sentences, on a few items."""

import numpy as np
import pytest

from weft.accuracy.classes import class_figures
from weft.hw.errors import InputError


def test_figures_of_logits():
    floats = np.array([[0, 1], [2, 0], [0, 3], [1, 0]], float)
    golden = floats + np.array([[0, 0], [0, 3], [0, 0], [0, 0]])
    figures = class_figures(golden, floats, np.array([1, 0, 1, 1]))
    assert (figures["accuracy"], figures["accuracy_float"], figures["drop_points"]) == (0.5, 0.75, 25)
    assert figures["same_label_as_float"] == 0.75
    assert figures["logits_snr_db"] == pytest.approx(10 * np.log10((1 + 4 + 9 + 1) / 9))


def test_digits_keep_their_accuracy_and_run_on_the_rtl(figures):
    found = figures("digits", "--config", "tiny", "--limit", 20, "--rtl", 1)
    assert found["images"] == 20 and found["rtl_images"] == 1 and found["exact"] is True
    assert abs(found["drop_points"]) <= 5 and found["accuracy"] > 0.9 and found["logits_snr_db"] > 25


@pytest.fixture
def classifier(tmp_path, text_model_folder):
    """Folder of a small sentence classifier with random weights, and of its data."""
    import torch

    from weft.train.sst2 import load_classifier

    torch.manual_seed(2)
    model, _ = load_classifier(text_model_folder())
    with torch.no_grad():
        model.classifier.weight.mul_(30)
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((text_model_folder() / "tokenizer.json").read_bytes())
    words = ["a boat", "the bay", "a boat crosses the bay a boat crosses the bay", "boat", "crosses the"]
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{w}\t{n % 2}\n" for n, w in enumerate(words)))
    return tmp_path


def test_sentences_are_classified_and_long_ones_cut(figures, classifier):
    found = figures("sst2", "--data", classifier, "--model", classifier, "--seq", 6, "--config", "tiny")
    assert found["sentences"] == 5 and found["seq"] == 6 and found["logits_snr_db"] > 15
    assert found["accuracy_float"] in (0, 0.2, 0.4, 0.6, 0.8, 1)
    assert figures("sst2", "--data", classifier, "--model", classifier, "--seq", 6, "--config", "tiny", "--limit",
                   2)["sentences"] == 2


def test_a_model_that_is_no_classifier_and_missing_data_are_named(figures, classifier, text_model_folder, tmp_path):
    with pytest.raises(InputError, match=r"result of shape \[1, 6, 16\] where a classifier's"):
        figures("sst2", "--data", classifier, "--model", text_model_folder(), "--seq", 6, "--config", "tiny")
    with pytest.raises(InputError, match="dev.tsv does not exist"):
        figures("sst2", "--data", tmp_path / "none", "--model", classifier)
