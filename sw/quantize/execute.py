"""Run a quantized graph in NumPy: the reference the golden model on the encoded program must equal.

The arithmetic is `weft.sim.numerics`; matrix products go through floating-point BLAS where that is exact.
"""

from dataclasses import fields, replace

import numpy as np

from weft import qgraph as qg
from weft.sim import numerics

__all__ = ["execute", "exact_matmul", "attention"]


def exact_matmul(a, b, bound):
    """``a @ b`` of integer arrays as int64; ``bound`` limits the sum of absolute products of any result."""
    kind = np.float32 if bound < 2**24 else np.float64
    if bound >= 2**53:
        raise ValueError(f"a matrix product of magnitude {bound} is not exact in floating point")
    return (a.astype(kind) @ b.astype(kind)).astype(np.int64)


def _rescale(x, rescale, table=None, residual=None):
    y = numerics.requantize(x, rescale.mult, rescale.shift, rescale.bias, rescale.zero)
    if residual is not None:
        y = y + residual
    q = numerics.clamp(y, rescale.dtype)
    return q.astype(rescale.dtype) if table is None else table[q & 255]


def _linear(op, env):
    x = env[op.x]
    bound = int(np.abs(op.weight.astype(np.int64)).sum(1).max(initial=0)) * (255 if x.dtype == np.uint8 else 128)
    acc = exact_matmul(x, op.weight.T, bound)
    if op.wide:
        index = _rescale(acc, op.rescale).view(np.uint8)
        return np.concatenate([op.wide_table[index[:, :op.wide]], op.table[index[:, op.wide:]]], axis=1)
    return _rescale(acc, op.rescale, op.table, None if op.residual is None else env[op.residual].astype(np.int64))


def _visible(op, env, start, stop):
    """Bool ``[batch, 1, 1 or q_len, keys]``: which queries see keys start..stop."""
    visible = np.ones((1, 1, 1, stop - start), bool)
    if op.mask is not None:
        visible = env[op.mask].reshape(op.batch, 1, -1, op.k_len)[..., start:stop]
    if op.causal:
        limit = np.arange(op.q_len)[:, None] + (op.k_len - op.q_len)
        visible = visible & (np.arange(start, stop)[None] <= limit)
    return visible


def attention(op, env):
    """Result int8 ``[batch * q_len, heads * head_dim]`` of an `Attention`."""
    group = op.heads // op.kv_heads

    def split(name, heads, length):
        parts = env[name].reshape(op.batch, length, heads, op.head_dim).transpose(0, 2, 1, 3)
        return parts if heads == op.heads else parts.repeat(group, 1)

    q, k, v = split(op.q, op.heads, op.q_len), split(op.k, op.kv_heads, op.k_len), split(op.v, op.kv_heads, op.k_len)
    state = numerics.SoftmaxState((op.batch, op.heads, op.q_len))
    context = np.zeros(q.shape, np.int64)
    for start in range(0, op.k_len, op.block):
        stop = min(start + op.block, op.k_len)
        acc = exact_matmul(q, k[:, :, start:stop].transpose(0, 1, 3, 2), 128 * 128 * op.head_dim)
        z = numerics.clamp(numerics.requantize(acc, op.score_mult, op.score_shift), "int16")
        p, distance = numerics.softmax_block(z, _visible(op, env, start, stop), state)
        context = numerics.rescaled(context, distance[..., None]) + exact_matmul(
            p, v[:, :, start:stop], 255 * 128 * (stop - start))
    mult, shift = numerics.softmax_division(state.l, op.out_mult, op.out_shift)
    y = numerics.rshift(context * mult[..., None], shift[..., None])
    return numerics.clamp(y, "int8").transpose(0, 2, 1, 3).reshape(op.batch * op.q_len, -1).astype(np.int8)


def _cached_attention(op, env, position, caches):
    """`attention` of the new rows to the caches, which take in the new keys and values."""
    rows = {}
    for name in (op.k, op.v):
        cache = caches.setdefault(name, np.zeros((op.capacity, env[name].shape[1]), np.int8))
        cache[position:position + op.q_len] = env[name]
        rows[name] = cache[:position + op.q_len]
    whole = qg.Attention(**{f.name: getattr(op, f.name) for f in fields(qg.Attention)})
    return attention(replace(whole, k_len=position + op.q_len), {**env, **rows})


def _norm(op, env):
    x = env[op.x]
    features = x.shape[1]
    s1, y1, sh = numerics.norm_stats(x, features, op.eps, op.kind == "rms")
    for name, r in ((op.out, op.rescale), (op.out2, op.rescale2)):
        if name is not None:
            y = numerics.normalize(x, s1, y1, sh, features, r.mult, r.shift, r.bias, r.zero)
            env[name] = numerics.clamp(y, r.dtype).astype(r.dtype)


def _step(op, env, rows, position, caches):
    match op:
        case qg.Constant():
            return op.values
        case qg.Positions():
            return op.values[position:position + rows]
        case qg.CachedAttention():
            return _cached_attention(op, env, position, caches)
        case qg.Embed():
            return op.table[env[op.ids].reshape(-1)]
        case qg.Add():
            return numerics.clamp(env[op.a].astype(np.int64) + env[op.b], "int16").astype(np.int16)
        case qg.Linear():
            return _linear(op, env)
        case qg.Attention():
            return attention(op, env)
        case qg.Requant():
            return _rescale(env[op.x], op.rescale, op.table)
        case qg.SelectRows():
            return env[op.x][op.index]
        case qg.Concat():
            return np.concatenate([env[part] for part in op.parts])[op.index]
    raise TypeError(f"no execution of {type(op).__name__}")


def execute(graph, inputs, keep=False, position=0, caches=None):
    """Integer outputs by tensor name for integer ``inputs`` by `Input` name; all tensors with ``keep``.

    ``position``, ``caches``: see `weft.qgraph.QGraph.run`."""
    env = {}
    caches = {} if caches is None else caches
    for op in graph.ops:
        if isinstance(op, qg.Input):
            tensor = graph.tensors[op.out]
            env[op.out] = np.asarray(inputs[op.out]).reshape(tensor.shape)
        elif isinstance(op, qg.Norm):
            _norm(op, env)
        else:
            env[op.out] = _step(op, env, graph.tensors[op.out].rows, position, caches)
    return env if keep else {output.tensor: env[output.tensor] for output in graph.outputs}
