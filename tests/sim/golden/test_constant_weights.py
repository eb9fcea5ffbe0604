"""Constant weights of the golden model: exact products, made once."""

from types import SimpleNamespace

import numpy as np
import pytest

import weft
from weft.sim.golden import products

CONFIG = weft.Config.named("tiny")
K_TILES, N_TILES = 40, 2
FIELDS = SimpleNamespace(w_format=0, k_offset=0)


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 256, (K_TILES * N_TILES * CONFIG.weight_tile_words, CONFIG.word_bytes), np.uint8)
    # Not -128, which no weight is.
    return products.ConstantWeights(CONFIG, np.where(words == 128, 127, words).astype(np.uint8))


def addresses(k_tiles=K_TILES):
    tiles = np.arange(k_tiles)[:, None] * N_TILES + np.arange(N_TILES)
    return (tiles[..., None] * CONFIG.weight_tile_words + np.arange(CONFIG.weight_tile_words)) * CONFIG.word_bytes


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_products_are_exact_beyond_what_float32_sums_hold(weights, budget, monkeypatch):
    monkeypatch.setattr(products, "_FLOAT_BUDGET", budget)
    matrix = weights.matrix(addresses(), FIELDS, 0)
    values = matrix.values.astype(np.int64)
    # Sums of products with operands of the second size pass 2^24, so they must be cut.
    for largest, parts in ((255, 1), (40_001, 2)):
        a = np.full((3, len(values)), largest)
        for _ in range(2):
            found = matrix.multiply(a.astype(np.float32), largest, weights)
            np.testing.assert_array_equal(found, a @ values)
        assert len(matrix.parts(largest)) >= parts
    assert matrix.values.dtype == (np.float32 if budget else np.int8)


def test_equal_places_are_one_matrix(weights):
    one = weights.matrix(addresses(), FIELDS, 0)
    assert weights.matrix(addresses().copy(), FIELDS, CONFIG.k_tiles_per_panel) is one
    assert weights.matrix(addresses(K_TILES - 1), FIELDS, 0) is not one
    assert weights.matrix(addresses()[::-1], FIELDS, 0) is not one
    np.testing.assert_array_equal(weights.matrix(addresses(K_TILES - 1), FIELDS, 0).values, one.values[:-CONFIG.rows])
