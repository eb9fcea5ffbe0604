"""Error compensation against a direct computation of what it should do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weft import CompileError, compensation
from weft.compensation import compensate


def problem(n, k, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, k, generator=generator, dtype=torch.double) @ torch.randn(k, k, generator=generator,
                                                                                    dtype=torch.double)
    return torch.randn(n, k, generator=generator, dtype=torch.double), x


def halves(start, columns, deviation):
    return lambda k, column: torch.round(column * 2) / 2


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 4), k=st.integers(1, 12), width=st.integers(1, 5), lazy=st.integers(1, 7), seed=st.integers(0, 999))
def test_each_column_leaves_the_best_rest(n, k, width, lazy, seed):
    """After rounding column k the later ones are the least-squares answer to the error so far."""
    weight, x = problem(n, k, 40, seed)
    hessian = x.t() @ x
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(k, dtype=torch.double)
    wanted, rest = torch.empty_like(weight), weight.clone()
    for column in range(k):
        wanted[:, column] = torch.round(rest[:, column] * 2) / 2
        error = wanted[:, column] - rest[:, column]
        later = slice(column + 1, k)
        # minimise (error, d) H (error, d)^T over d
        if column + 1 < k:
            solved = torch.linalg.solve(damped[later, later], damped[later, column])
            rest[:, later] -= error[:, None] * solved
    before = compensation._LAZY
    try:
        compensation._LAZY = lazy
        got = compensate(weight, hessian, width, halves)
    finally:
        compensation._LAZY = before
    assert torch.allclose(got, wanted)


def test_outputs_change_less_than_by_rounding_alone():
    weight, x = problem(16, 48, 400, 1)
    plain = torch.round(weight * 2) / 2
    better = compensate(weight, x.t() @ x, 8, halves)
    errors = [float(((changed - weight) @ x.t()).square().mean()) for changed in (better, plain)]
    assert errors[0] < 0.6 * errors[1]


def test_inputs_that_never_occur_are_rounded_like_any_other():
    weight, x = problem(3, 6, 50, 2)
    x[:, 2] = 0
    assert torch.equal(compensate(weight, x.t() @ x, 2, halves)[:, 2], torch.round(weight[:, 2] * 2) / 2)


def test_moments_that_are_not_finite_are_refused():
    weight, x = problem(3, 6, 50, 2)
    with pytest.raises(CompileError, match="positive definite"):
        compensate(weight, x.t() @ x * float("nan"), 2, halves)
