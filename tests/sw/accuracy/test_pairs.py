"""Reading of sentence pairs, and the rank correlation."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from weft.accuracy.pairs import read_pairs, spearman
from weft.hw.errors import InputError


def test_spearman_agrees_with_scipy_also_with_ties():
    rng = np.random.default_rng(5)
    a = rng.integers(0, 20, 300)
    b = a + rng.integers(0, 30, 300)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert spearman([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)


def test_pairs_with_and_without_a_header(tmp_path):
    lines = 'a man,"a man, indeed",4.5\nx,y,0\n'
    (tmp_path / "plain.csv").write_text(lines)
    (tmp_path / "header.csv").write_text("sentence1,sentence2,score\n" + lines)
    (tmp_path / "tabs.tsv").write_text("a man\ta man, indeed\t4.5\nx\ty\t0\n")
    for name in ("plain.csv", "header.csv", "tabs.tsv"):
        left, right, scores = read_pairs(tmp_path / name)
        assert left == ["a man", "x"] and right == ["a man, indeed", "y"] and scores.tolist() == [4.5, 0]


@pytest.mark.parametrize("text, words", [("a,b,1\nc,d\n", "line 2"), ("a,b,1\n", "at least 2"), ("", "at least 2")])
def test_a_file_of_another_shape_is_refused(tmp_path, text, words):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_pairs(tmp_path / "f.csv")
    with pytest.raises(InputError, match="does not exist"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "f.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="f.csv is no UTF-8 text"):
        read_pairs(tmp_path / "f.csv")
