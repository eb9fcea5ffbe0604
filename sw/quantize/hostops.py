"""The host's operations in NumPy, named after the PyTorch operators whose meaning they have.

Each takes arrays and numbers as the exported operator does; the result is cast to the step's dtype by the caller.
"""

import numpy as np

__all__ = ["OPERATIONS"]


def _axis(dim):
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _keep_where_zero(x):
    """Attention mask of an additive mask: true where 0, false where far below; anything else is refused."""
    if not np.all((x == 0) | (x <= -1e4)):
        raise ValueError("an additive attention mask may hold 0 and minus infinity only")
    return x == 0


def _gather(x, dim, index, sparse_grad=False):
    return np.take_along_axis(np.asarray(x), index, axis=dim)


def _div(a, b, rounding_mode=None):
    result = np.true_divide(a, b)
    return np.floor(result) if rounding_mode == "floor" else np.trunc(result) if rounding_mode == "trunc" else result


def _clamp(x, min=None, max=None):
    return x if min is None and max is None else np.clip(x, min, max)


def _reduce(function):
    def reduced(x, dim=None, keepdim=False):
        return function(x, axis=_axis(dim if dim != [] else None), keepdims=keepdim)
    return reduced


def _index(x, indices):
    full = tuple(slice(None) if i is None else i for i in indices)
    return x[full]


OPERATIONS = {
    "const": lambda x: x,
    "take": lambda x, index: x.reshape(-1)[index],
    "reshape": lambda x, shape: x.reshape(shape),
    "cast": lambda x: x,
    "keep_where_zero": _keep_where_zero,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
    "add": lambda a, b, alpha=1: np.add(a, np.multiply(b, alpha)),
    "sub": lambda a, b, alpha=1: np.subtract(a, np.multiply(b, alpha)),
    "rsub": lambda a, b, alpha=1: np.subtract(b, np.multiply(a, alpha)),
    "mul": np.multiply, "div": _div, "neg": np.negative, "abs": np.abs,
    "floor_divide": np.floor_divide, "remainder": np.remainder, "fmod": np.fmod,
    "minimum": np.minimum, "maximum": np.maximum, "clamp": _clamp,
    "clamp_min": lambda x, low: np.maximum(x, low), "clamp_max": lambda x, high: np.minimum(x, high),
    "sqrt": np.sqrt, "pow": np.power, "exp": np.exp, "floor": np.floor, "ceil": np.ceil,
    "where": np.where,
    "masked_fill": lambda x, mask, value: np.where(mask, value, x),
    "cumsum": lambda x, dim: np.cumsum(x, axis=dim),
    "sum": _reduce(np.sum), "any": _reduce(np.any), "all": _reduce(np.all), "amax": _reduce(np.max),
    "amin": _reduce(np.min),
    "gather": _gather, "index": _index,
    "cat": lambda tensors, dim=0: np.concatenate(tensors, axis=dim),
    "stack": lambda tensors, dim=0: np.stack(tensors, axis=dim),
    "pad_zeros": lambda x, widths: np.pad(x, widths),
    "tril": lambda x, diagonal=0: np.tril(x, diagonal), "triu": lambda x, diagonal=0: np.triu(x, diagonal),
    "isinf": np.isinf, "isnan": np.isnan, "flip": lambda x, dims: np.flip(x, tuple(dims)),
}
