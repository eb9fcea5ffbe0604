"""The mean over tokens as attention whose query is zero: every key gets the same weight."""

from math import prod

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, split_index

__all__ = ["mean_rows"]

#: Widest head; wider features are cut into several.
_HEAD_DIM = 128


def _head_dim(features):
    """Largest divisor of ``features`` that is no wider than a head, or all of them where only tiny ones divide."""
    largest = max(d for d in range(1, min(features, _HEAD_DIM) + 1) if features % d == 0)
    return largest if largest >= 8 else features


def mean_rows(builder, x, dim, keepdim):
    """Mean of activation ``x`` over axes ``dim`` that run over rows (tokens), or None where they run over features."""
    axes = len(x.shape)
    reduced = sorted(d % axes for d in ([dim] if isinstance(dim, int) else dim or range(axes)))
    kept = [axis for axis in range(axes) if axis not in reduced]
    if not reduced or not kept or x.centered:
        return None
    order = [*kept[:-1], *reduced, kept[-1]]
    count, features = prod(x.shape[axis] for axis in reduced), x.shape[kept[-1]]
    groups = prod(x.shape[axis] for axis in kept[:-1])
    index = x.map.permute(order).reshape(groups * count, features)
    features_last = axes - 1 in kept and builder.holds_rows(x, index)
    if not features_last and split_index(index, builder.tensor(x.base).features) is None:
        return None
    name, head_dim = builder.matrix(x, index), _head_dim(features)
    query = builder.emit(fg.FConst, groups, features, values=torch.zeros(groups, features))
    out = builder.emit(fg.FAttention, groups, features, q=query, k=name, v=name, heads=features // head_dim,
                       kv_heads=features // head_dim, head_dim=head_dim, batch=groups, q_len=1, k_len=count, scale=1.0)
    shape = [1 if axis in reduced else x.shape[axis] for axis in range(axes)]
    return Act(out, tuple(n for axis, n in enumerate(shape) if keepdim or axis in kept))
