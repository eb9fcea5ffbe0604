"""LayerNorm and RMSNorm, from their operators or from mean, variance and reciprocal square root written out."""

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const, Stat

__all__ = ["layer_norm", "native_layer_norm", "rms_norm", "mean", "variance", "power", "pow_scalar", "arithmetic"]


def _emit(builder, x, kind, gamma, beta, eps):
    name, rows, columns = builder.rowwise(x)
    if columns is not None:
        name, rows = builder.matrix(x), None
    tensor = builder.tensor(name)
    out = builder.emit(fg.FNorm, tensor.rows, tensor.features, x=name, kind=kind, gamma=gamma, beta=beta,
                       eps=float(eps))
    return builder.result(out, x.shape, rows)


def _vectors(builder, x, normalized_shape, weight, bias):
    if len(normalized_shape) != 1:
        raise builder.error(f"a norm over the last {len(normalized_shape)} axes is not supported; over the last one it is")
    features = x.shape[-1]
    gamma = torch.ones(features) if weight is None else builder.weight(weight, "norm weight").reshape(-1)
    beta = torch.zeros(features) if bias is None else builder.weight(bias, "norm bias").reshape(-1)
    return gamma, beta


def layer_norm(builder, node, x, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
    """``aten.layer_norm``."""
    x = builder.activation(x)
    return _emit(builder, x, "layer", *_vectors(builder, x, normalized_shape, weight, bias), eps)


def native_layer_norm(builder, node, x, normalized_shape, weight, bias, eps):
    """``aten.native_layer_norm``; its statistics are not offered."""
    return layer_norm(builder, node, x, normalized_shape, weight, bias, eps), None, None


def rms_norm(builder, node, x, normalized_shape, weight=None, eps=None):
    """``aten.rms_norm``."""
    x = builder.activation(x)
    eps = torch.finfo(torch.float32).eps if eps is None else eps
    return _emit(builder, x, "rms", *_vectors(builder, x, normalized_shape, weight, None), eps)


def _last_axis(x, dim):
    dims = [dim] if isinstance(dim, int) else list(dim or [])
    return len(dims) == 1 and dims[0] in (-1, len(x.shape) - 1)


def mean(builder, node, x, dim=None, keepdim=False, **kwargs):
    """Mean over the last axis, as part of a norm."""
    if not isinstance(x, Act) or not _last_axis(x, dim) or not keepdim:
        return None
    if x.expr is not None and x.expr.square:
        return Stat("variance" if x.centered else "mean square", Act(x.base, x.shape, x.index, None, x.centered))
    return Stat("mean", x) if not x.centered else None


def variance(builder, node, x, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Population variance over the last axis, as part of a layer norm."""
    if isinstance(unbiased, bool):
        correction = int(unbiased)
    if not isinstance(x, Act) or x.centered or not _last_axis(x, dim) or not keepdim or correction != 0:
        return None
    return Stat("variance", Act(x.base, x.shape, x.index, x.expr, True))


def power(exponent):
    """Handler of square root, reciprocal and reciprocal square root of a statistic."""
    def handler(builder, node, x, **kwargs):
        return Stat(x.kind, x.x, x.eps, x.power * exponent) if isinstance(x, Stat) else None
    return handler


def pow_scalar(builder, node, x, exponent, **kwargs):
    """``statistic ** number``."""
    if isinstance(x, Stat) and isinstance(exponent, (int, float)):
        return Stat(x.kind, x.x, x.eps, x.power * exponent)
    return None


def _same(a, b):
    equal = a.index is b.index or (a.index is not None and b.index is not None and torch.equal(a.index, b.index))
    return a.base == b.base and a.shape == b.shape and equal


def _normalized(builder, x, stat, exponent):
    if stat.power * exponent != -0.5:
        return None
    factor = 1.0
    if x.expr is not None:
        if x.expr.affine is None or x.expr.affine[1] != 0.0:
            return None
        factor = x.expr.affine[0]
    kind = {"variance": "layer", "mean square": "rms"}.get(stat.kind)
    bare = Act(x.base, x.shape, x.index)
    if kind is None or not _same(bare, stat.x) or (kind == "layer") != x.centered or \
            (stat.x.expr is not None and stat.x.expr is not x.expr):
        return None
    features = x.shape[-1]
    return _emit(builder, bare, kind, torch.full((features,), factor), torch.zeros(features), stat.eps)


def arithmetic(builder, name, a, b, shape):
    """``x - mean``, ``statistic + eps``, ``x * rstd``, ``x / std`` and ``1 / std``."""
    stat, other = (a, b) if isinstance(a, Stat) else (b, a)
    number = float(other.tensor) if isinstance(other, Const) and other.tensor.numel() == 1 else other
    result = None
    if name == "add" and isinstance(number, (int, float)) and stat.power == 1.0:
        result = Stat(stat.kind, stat.x, stat.eps + number)
    elif name == "sub" and isinstance(a, Act) and stat.kind == "mean" and stat.power == 1.0 and stat.eps == 0.0 \
            and _same(a, stat.x) and a.expr is stat.x.expr:
        result = Act(a.base, a.shape, a.index, a.expr, centered=True)
    elif name == "div" and stat is b and number == 1:
        result = Stat(stat.kind, stat.x, stat.eps, -stat.power)
    elif name in ("mul", "div") and isinstance(other, Act) and (name == "mul" or stat is b):
        result = _normalized(builder, other, stat, 1 if name == "mul" else -1)
    if result is None:
        raise builder.error(f"{name} of a mean or variance is supported only where it makes up a layer norm or RMS norm "
                            "over the last axis")
    return result
