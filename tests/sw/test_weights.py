"""Compressed forms expand to the matrices they came from, and are found in them by value."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.weights import CirculantWeights, GroupedWeights, SparseWeights, circulant_block, pattern_of

SEEDS = st.integers(0, 2**32 - 1)


def sparse(rng, n, k, kept):
    """int8[n, k] with at most ``kept`` nonzeros in each four neighbours, and that many in the first four."""
    weight = rng.integers(1, 128, (n, k)).astype(np.int8)
    for row in weight:
        for start in range(0, k, 4):
            width = min(4, k - start)
            row[start + rng.permutation(width)[:max(width - kept, 0)]] = 0
    return weight


@given(n=st.integers(1, 9), k=st.integers(1, 30), kept=st.sampled_from([1, 2]), seed=SEEDS)
def test_sparse_weights_expand_to_the_matrix(n, k, kept, seed):
    weight = sparse(np.random.default_rng(seed), n, k, kept)
    form = SparseWeights.of(weight, kept)
    assert form.values.shape == form.places.shape == (n, -(-k // 4), kept)
    assert np.array_equal(form.expand(), weight)
    assert (np.diff(form.places.astype(int), axis=2) > 0).all() and form.places.max() < 4


@given(n=st.integers(1, 9), k=st.integers(4, 30), kept=st.sampled_from([1, 2]), seed=SEEDS)
def test_the_tightest_pattern_is_found(n, k, kept, seed):
    weight = sparse(np.random.default_rng(seed), n, k, kept)
    assert pattern_of(weight).name == pattern_of(torch.from_numpy(weight)).name == f"{kept}:4"
    weight[n // 2, :4] = 1, 2, 3, 0         # one group too full
    assert pattern_of(weight).name == "dense"


def test_zero_rows_columns_and_heads_are_named():
    weight = np.ones((12, 8), np.int8)
    weight[4:8] = weight[1] = weight[:, 4:6] = weight[:, 7] = 0
    found = pattern_of(weight)
    assert found.name == "dense"
    assert found.outputs.tolist() == [1, 4, 5, 6, 7] and found.inputs.tolist() == [4, 5, 7]
    assert found.heads(4).tolist() == [1] and found.heads(2).tolist() == [2, 3]
    assert found.heads(2, "inputs").tolist() == [2]


@settings(deadline=None)
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), block=st.sampled_from([4, 8, 16]), seed=SEEDS)
def test_circulant_weights_expand_and_are_found(rows, columns, block, seed):
    generators = np.random.default_rng(seed).permutation(rows * columns * block).reshape(rows, columns, block) - 7
    weight = CirculantWeights(generators).expand()
    for n, k, i, j in np.ndindex(rows, columns, block, block):
        assert weight[n * block + i, k * block + j] == generators[n, k, (i - j) % block]
    assert circulant_block(weight) == circulant_block(torch.from_numpy(weight)) == block
    assert np.array_equal(CirculantWeights.of(weight, block).generators, generators)
    weight[-1, -1] += 1
    assert circulant_block(weight) == 0


def test_what_is_not_circulant():
    assert circulant_block(np.zeros((8, 8))) == 0
    toeplitz = np.arange(15)[np.arange(8)[:, None] - np.arange(8) + 7]
    assert circulant_block(toeplitz) == 0
    turned_the_other_way = CirculantWeights(np.arange(8)[None, None]).expand()[:, ::-1]
    assert circulant_block(turned_the_other_way) == 0
    assert circulant_block(CirculantWeights(np.arange(8)[None, None]).expand(), blocks=(4,)) == 0


@given(n=st.integers(1, 5), k=st.integers(1, 70), group=st.integers(16, 128), seed=SEEDS)
def test_grouped_weights_expand_exactly_to_int8(n, k, group, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-8, 8, (n, k)).astype(np.int8)
    scales = rng.integers(1, 16, (n, -(-k // group))).astype(np.uint8)
    dense = GroupedWeights(values, scales, group).expand()
    assert dense.dtype == np.int8
    assert all(dense[i, j] == int(values[i, j]) * int(scales[i, j // group]) for i, j in np.ndindex(n, k))


@pytest.mark.parametrize("form, share", [
    (SparseWeights.of(np.eye(64, dtype=np.int8), 2), 0.625),
    (CirculantWeights(np.ones((8, 8, 8), np.int8)), 0.125),
    (GroupedWeights(np.ones((64, 64), np.int8), np.ones((64, 2), np.uint8), 32), 0.516),
])
def test_memory_beside_dense_int8(form, share):
    assert form.bytes / (64 * 64) == pytest.approx(share, abs=1e-3)
