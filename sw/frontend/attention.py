"""Recognise attention: which rows and columns are the heads, and what its masks say."""

from math import prod

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const, Host, Value

__all__ = ["as_mask", "attention"]


def as_mask(builder, mask, shape, inverted=False):
    """A bool value, true where a key may be attended, broadcastable to the scores' shape.

    ``mask`` is bool (true: attend, or with ``inverted``: do not) or additive (0 or minus infinity).
    """
    if isinstance(mask, Const):
        keep = mask.tensor
        if keep.dtype.is_floating_point:
            if not bool(((keep == 0) | (keep <= -1e4)).all()):
                raise builder.error("values other than 0 and minus infinity added to attention scores (a position "
                                    "bias) are not supported")
            keep = keep == 0
        return (Const(~keep if inverted else keep), shape)
    if not isinstance(mask, Host):
        raise builder.error("attention scores may only be masked by inputs and constants")
    step = None
    if mask.dtype.is_floating_point:
        step = ("keep_where_zero", mask)
    elif mask.dtype != torch.bool:
        raise builder.error(f"an attention mask must be bool or floating point, not {mask.dtype}")
    elif inverted:
        step = ("logical_not", mask)
    if step is not None:
        # On the whole base: the view stays a view, so that repeated rows remain recognisable.
        base_shape = builder.host.steps[mask.base]["shape"]
        number = builder.host.add(step[0], [builder.host.ref(mask.base)], {}, base_shape, torch.bool)
        mask = Host(number, mask.shape, mask.index, torch.bool)
    return (mask, shape)


def _grouped(mask, shape, batch, heads):
    """Map of a mask over ``[batch, 1, 1 or q_len, k_len]`` (into its base), or None if heads differ."""
    index = mask.tensor if isinstance(mask, Const) else mask.map
    index = index.reshape((1,) * (len(shape) - index.ndim) + tuple(index.shape))
    q_len, k_len = shape[-2:]
    index = index.expand(*index.shape[:-1], k_len)
    if len(shape) != 4 or index.shape[0] not in (1, batch) or index.shape[1] not in (1, heads):
        index = index.expand(*shape[:-2], *index.shape[-2:]).reshape(batch, heads, *index.shape[-2:])
    for axis in (1, 2):
        if index.shape[axis] > 1 and bool((index == index.narrow(axis, 0, 1)).all()):
            index = index.narrow(axis, 0, 1)
    if index.shape[1] > 1:
        return None
    return index.expand(batch, *index.shape[1:])[:, 0]


def _conjuncts(builder, mask):
    """The masks whose conjunction ``mask`` is, so that constant parts of it (causality) stay recognisable."""
    if isinstance(mask, Const):
        return [mask]
    host = builder.host
    step = host.steps[mask.base]
    if step["op"] == "keep_where_zero":
        # Additive masks: their sum keeps what each keeps; where(keep, 0, minus infinity) keeps what the condition says.
        inner = host.steps[step["args"][0]["value"]]
        if inner["op"] == "where" and _number(host, inner["args"][1]) == 0 \
                and _number(host, inner["args"][2], 0.0) <= -1e4:
            step = {**inner, "args": inner["args"][:1]}
        elif inner["op"] == "add" and not inner["kwargs"]:
            step = inner
        else:
            return [mask]
    elif step["op"] != "logical_and":
        return [mask]
    parts = []
    for argument in step["args"]:
        part = _argument(builder, argument, step["shape"], mask)
        if part is None:
            return [mask]
        parts += part
    return parts


def _number(host, argument, default=None):
    """The number a step's argument stands for, ``default`` if it is none."""
    if isinstance(argument, dict) and "array" in argument and host.arrays[argument["array"]].size == 1:
        return float(host.arrays[argument["array"]].item())
    if isinstance(argument, dict) and "float" in argument:
        return float(argument["float"])
    return float(argument) if isinstance(argument, (int, float)) else default


def _argument(builder, argument, shape, mask):
    """An operand of a conjunction (or sum of additive masks) of shape ``shape`` as masks seen through ``mask``'s map."""
    host = builder.host
    if isinstance(argument, dict) and "array" in argument:
        values = torch.from_numpy(host.arrays[argument["array"]]).expand(shape).reshape(-1)[mask.map]
        if not values.is_floating_point() and values.dtype != torch.bool:
            return None
        return [as_mask(builder, Const(values), mask.shape)[0]]
    if not isinstance(argument, dict) or "value" not in argument:
        return None
    inner = host.steps[argument["value"]]
    dtype = getattr(torch, inner["dtype"])
    index = torch.arange(prod(inner["shape"])).reshape(inner["shape"]).expand(shape).reshape(-1)[mask.map]
    part = Host(argument["value"], mask.shape, index, dtype)
    if dtype.is_floating_point:
        part = as_mask(builder, part, mask.shape)[0]
    elif dtype != torch.bool:
        return None
    return _conjuncts(builder, part)


def _mask_tensor(builder, scores, batch, heads):
    """``(name of the mask tensor or None, causal)``."""
    q_len, k_len = scores.shape[-2:]
    fixed = torch.ones(1, 1, k_len, dtype=torch.bool)
    values = []
    for mask, shape in [(part, shape) for mask, shape in scores.masks for part in _conjuncts(builder, mask)]:
        index = _grouped(mask, shape, batch, heads)
        if index is None:
            raise builder.error("attention masks that differ between heads are not supported")
        if isinstance(mask, Const):
            fixed = fixed & index
        else:
            values.append(Host(mask.base, tuple(index.shape), index, torch.bool))
    causal = False
    if bool(fixed.all()):
        fixed = None
    elif fixed.shape[1] == q_len and q_len <= k_len and \
            bool((fixed == torch.ones(q_len, k_len, dtype=torch.bool).tril(k_len - q_len)).all()):
        causal, fixed = True, None
    key = ("mask", batch, tuple((v.base, v.shape, tuple(v.map.reshape(-1).tolist())) for v in values),
           None if fixed is None else tuple(fixed.reshape(-1).tolist()))
    if not values and fixed is None:
        return None, causal
    if key not in builder.memo:
        rows = max([v.shape[1] for v in values] + ([] if fixed is None else [fixed.shape[1]]))
        if not values:
            fixed = fixed.expand(batch, rows, k_len).reshape(batch * rows, k_len)
            builder.memo[key] = builder.emit(fg.FConst, batch * rows, k_len, values=fixed.contiguous())
        else:
            arrays = []
            for v in values:
                index = v.map.expand(batch, rows, k_len).reshape(batch * rows, k_len)
                arrays.append(builder.host_array(Host(v.base, tuple(index.shape), index, torch.bool)))
            arguments = [builder.host.ref(a) for a in arrays]
            if fixed is not None:
                arguments.append(fixed.expand(batch, rows, k_len).reshape(batch * rows, k_len))
            number = arrays[0]
            for other in arguments[1:]:
                number = builder.host.add("logical_and", [builder.host.ref(number), other], {}, (batch * rows, k_len),
                                          torch.bool)
            builder.memo[key] = builder.emit(fg.FInput, batch * rows, k_len, kind="mask", value=number)
    return builder.memo[key], causal


def _scaled(builder, act):
    """``act`` without a pending multiplication by a number, and that number."""
    if act.expr is not None and act.expr.affine is not None and act.expr.affine[1] == 0.0 and not act.centered:
        return Act(act.base, act.shape, act.index), act.expr.affine[0]
    return builder.plain(act), 1.0


def _groups(q, features):
    """``(batch, heads)`` of a query map ``[n, q_len, d]``: heads are the parts that share their rows."""
    rows = q[:, :, 0] // features
    heads = 1
    while heads < len(rows) and bool((rows[heads] == rows[0]).all()):
        heads += 1
    return len(rows) // heads, heads


def _key_heads(index, features):
    """Number of distinct heads of a key or value map ``[batch, heads, k_len, d]``, repeated in equal groups."""
    columns = index[0, :, 0, :] % features
    heads = len(columns)
    kv_heads = 1 + int((columns[1:] != columns[:-1]).any(-1).sum())
    if heads % kv_heads or not bool((columns == columns[::heads // kv_heads].repeat_interleave(heads // kv_heads, 0)).all()):
        return heads
    return kv_heads


def attention(builder, scores, v, shape):
    """The attention operation for masked, scaled scores and values ``[..., k_len, d]``; its value has ``shape``."""
    q, q_scale = _scaled(builder, scores.q)
    k, k_scale = _scaled(builder, scores.k)
    v = builder.plain(v)
    (q_len, d), k_len = q.shape[-2:], k.shape[-2]
    if k.shape[-1] != d or v.shape[-1] != d or v.shape[-2] != k_len:
        raise builder.error(f"attention needs queries, keys and values of one head size; here {d}, {k.shape[-1]} and "
                            f"{v.shape[-1]}")
    count = prod(shape[:-2])
    if len(shape) == 4:
        batch, heads = int(shape[0]), int(shape[1])
    else:
        batch, heads = _groups(q.map.reshape(-1, q_len, d), builder.tensor(q.base).features)

    def heads_map(act, length):
        lead = tuple(int(n) for n in shape[:-2])
        index = act.map if isinstance(act, Value) else act
        if prod(act.shape[:-2]) != count:
            index = index.expand(*lead, length, d)
        return index.reshape(batch, heads, length, d)

    mask, causal = _mask_tensor(builder, scores, batch, heads)
    names, kv_heads = [], heads
    k_map, v_map = heads_map(k, k_len), heads_map(v, k_len)
    for act, index in ((k, k_map), (v, v_map)):
        kv_heads = max(kv_heads if act is v else 1, _key_heads(index, builder.tensor(act.base).features))
    # A permutation of features that q and k share changes no score: rotary embedding may have left one.
    q_map = heads_map(q, q_len)
    order = q_map[0, 0, 0].argsort()
    q_map, k_map = q_map[..., order], k_map[..., order]
    for act, index, length in ((q, q_map, q_len), (k, k_map, k_len), (v, v_map, k_len)):
        if act is not q:
            index = index[:, ::heads // kv_heads]
        names.append(builder.matrix(act, index.permute(0, 2, 1, 3).reshape(batch * length, -1)))
    pairs = q_len * k_len
    if causal:  # on and below the diagonal
        pairs = sum(min(k_len, i + 1 + k_len - q_len) for i in range(q_len))
    out = builder.emit(fg.FAttention, batch * q_len, heads * d, q=names[0], k=names[1], v=names[2], heads=heads,
                       kv_heads=kv_heads, head_dim=d, batch=batch, q_len=q_len, k_len=k_len,
                       scale=float(scores.scale * q_scale * k_scale), mask=mask, causal=causal,
                       macs=2 * batch * heads * pairs * d)
    index = torch.arange(batch * q_len * heads * d).reshape(batch, q_len, heads, d).permute(0, 2, 1, 3)
    return Act(out, tuple(int(n) for n in shape), index.reshape(tuple(shape)))
