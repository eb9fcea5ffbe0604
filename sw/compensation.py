"""Change a layer's weights column by column, each later column making up for the error of those before it.

What SparseGPT (Frantar and Alistarh, 2023) does to prune and GPTQ (Frantar et al., 2023) to round: the error of column
k is spread over columns k+1.. so that the layer's outputs on typical inputs change least.
"""

import torch

from weft.hw.errors import CompileError

__all__ = ["compensate"]

# Columns whose errors reach the columns behind them in one product.
_LAZY = 128


def _inverse_factor(hessian, damping):
    """Upper triangular U with ``U^T U`` the inverse of the damped Hessian."""
    size = len(hessian)
    mean = hessian.diagonal().mean().clamp_min(1e-30)
    damped = hessian + torch.eye(size, dtype=hessian.dtype) * (damping * mean)
    lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
    if failed:
        raise CompileError("the second moments of a layer's inputs are not positive definite; calibration data must be "
                           "finite")
    return torch.linalg.solve_triangular(lower.flip(0, 1), torch.eye(size, dtype=hessian.dtype), upper=True)


def compensate(weight, hessian, width, choose, damping=0.01):
    """The changed weights, float64[N, K].

    ``weight`` [N, K]; ``hessian`` [K, K], the sum of ``x x^T`` over typical inputs x. Columns come in blocks of ``width``
    (the last may be narrower); for each, ``choose(start, columns, deviation)`` sees them as they are by then, float64[N,
    width], and how far an input can be told from those behind it, float64[width]: changing column k by e costs
    ``(e / deviation[k])**2``. It returns a function of a column's number within the block and its values that
    gives the new values. ``damping``: share of the mean diagonal added to the diagonal.
    """
    weight, factor = weight.double().clone(), _inverse_factor(hessian.double(), damping)
    count = weight.shape[1]
    result = torch.empty_like(weight)
    lazy = max(width, _LAZY // width * width)
    for first in range(0, count, lazy):
        last = min(first + lazy, count)
        errors = torch.empty(len(weight), last - first, dtype=weight.dtype)
        for start in range(first, last, width):
            stop = min(start + width, last)
            change = choose(start, weight[:, start:stop], factor.diagonal()[start:stop])
            for k in range(start, stop):
                result[:, k] = change(k - start, weight[:, k])
                error = (weight[:, k] - result[:, k]) / factor[k, k]
                weight[:, k + 1:last] -= error[:, None] * factor[k, k + 1:last]
                errors[:, k - first] = error
        weight[:, last:] -= errors @ factor[first:last, last:]
    return result
