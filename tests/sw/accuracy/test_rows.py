"""Attention alone against float."""

import pytest

import weft
from weft.accuracy.rows import KINDS, attention_decibels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [128, 512])
def test_attention_keeps_34_decibels(kind, keys):
    """Measured 34.4 to 39.6 with 4 heads."""
    assert attention_decibels(weft.Config.named("base"), kind, keys, heads=2) >= 34


def test_the_command_prints_each_kind(figures):
    found = figures("attention", "--keys", 5, "--dim", 8, "--config", "tiny")
    assert {f"{kind}_5_keys_db" for kind in KINDS} < set(found) and found["dim"] == 8
