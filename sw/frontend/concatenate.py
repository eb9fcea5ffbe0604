"""Concatenation: of rows by an operation of its own, of features by joining the layers that compute them."""

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act

__all__ = ["concatenate"]


def concatenate(builder, values, axis):
    """The value of ``torch.cat(values, axis)``; at least one of ``values`` is an activation."""
    acts = [builder.plain(builder.activation(v)) for v in values if v.shape != (0,)]
    axes = len(acts[0].shape)
    axis %= axes
    shape = list(acts[0].shape)
    shape[axis] = sum(act.shape[axis] for act in acts)
    if axis == axes - 1:
        return Act(_features(builder, [builder.matrix(act) for act in acts]), tuple(shape))
    return _rows(builder, acts, axis, tuple(shape))


def _rows(builder, acts, axis, shape):
    """Along any axis but the last: whole rows in another order."""
    starts, orders, stacked = {}, [], 0
    for act in acts:
        act = builder.rearranged(act)
        rows, columns = builder.split(act)
        name = builder.columns(act.base, columns)
        if name not in starts:
            starts[name] = stacked
            stacked += builder.tensor(name).rows
        orders.append((rows + starts[name]).reshape(act.shape[:-1]))
    index = torch.cat(orders, axis).reshape(-1)
    if len(starts) == 1:
        return Act(builder.select(name, index), shape)
    return Act(builder.emit(fg.FConcat, len(index), shape[-1], parts=tuple(starts), index=index), shape)


def _equal(ops, *fields):
    return all(getattr(op, field) == getattr(ops[0], field) for op in ops for field in fields)


def _features(builder, names):
    """Name of the tensor that holds the features of tensors ``names`` side by side."""
    key = ("beside", *names)
    if key not in builder.memo:
        builder.memo[key] = _joined(builder, names) or _placed(builder, names)
    return builder.memo[key]


def _joined(builder, names):
    """The layers that compute ``names`` as one: linear layers of one input, heads of one attention; else None."""
    ops = [builder.writer(name) for name in names]
    rows, features = builder.tensor(names[0]).rows, sum(builder.tensor(name).features for name in names)
    macs = sum(op.origin.macs for op in ops)
    match ops[0]:
        case _ if len(names) == 1:
            return names[0]
        case fg.FLinear() if all(isinstance(op, fg.FLinear) for op in ops) and _equal(ops, "x", "given"):
            kept = all(op.steps is not None for op in ops)
            return builder.emit(fg.FLinear, rows, features, macs=macs, origin=ops[0].origin, x=ops[0].x,
                                weight=torch.cat([op.weight for op in ops]), bias=torch.cat([op.bias for op in ops]),
                                given=ops[0].given, steps=torch.cat([op.steps for op in ops]) if kept else None)
        case fg.FAttention() if all(isinstance(op, fg.FAttention) for op in ops) and _equal(
                ops, "heads", "kv_heads", "head_dim", "batch", "q_len", "k_len", "scale", "mask", "causal"):
            q, k, v = (_joined(builder, [getattr(op, role) for op in ops]) for role in "qkv")
            if None in (q, k, v):
                return None
            first = ops[0]
            return builder.emit(fg.FAttention, rows, features, macs=macs, origin=first.origin, q=q, k=k, v=v,
                                heads=first.heads * len(ops), kv_heads=first.kv_heads * len(ops),
                                head_dim=first.head_dim, batch=first.batch, q_len=first.q_len, k_len=first.k_len,
                                scale=first.scale, mask=first.mask, causal=first.causal)
    return None


def _placed(builder, names):
    """Features brought to their places by linear layers of zeros and ones, and added."""
    rows, features = builder.tensor(names[0]).rows, sum(builder.tensor(name).features for name in names)
    place, result = 0, None
    for name in names:
        count = builder.tensor(name).features
        weight = torch.zeros(features, count)
        weight[place:place + count] = torch.eye(count)
        place += count
        part = builder.emit(fg.FLinear, rows, features, x=name, weight=weight, bias=torch.zeros(features))
        result = part if result is None else builder.emit(fg.FAdd, rows, features, a=result, b=part)
    return result
