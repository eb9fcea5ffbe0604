"""Evaluate a float graph in float32 with torch: the reference the quantized graph is compared with."""

import torch

from weft.frontend import graph as fg

__all__ = ["evaluate", "attention"]


def attention(q, k, v, op, mask):
    """``[batch * q_len, heads * head_dim]``: attention of `FAttention` op; rows that may attend no key give 0."""
    q = q.reshape(op.batch, op.q_len, op.heads, op.head_dim).transpose(1, 2)
    k = k.reshape(op.batch, op.k_len, op.kv_heads, op.head_dim).transpose(1, 2)
    v = v.reshape(op.batch, op.k_len, op.kv_heads, op.head_dim).transpose(1, 2)
    group = op.heads // op.kv_heads
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q @ k.transpose(-1, -2)) * op.scale
    keep = torch.ones(1, 1, op.q_len, op.k_len, dtype=torch.bool)
    if op.causal:
        keep = keep.tril(op.k_len - op.q_len)
    if mask is not None:
        keep = keep & mask.reshape(op.batch, 1, -1, op.k_len)
    probabilities = torch.softmax(scores.masked_fill(~keep, float("-inf")), -1).nan_to_num(0.0)
    return (probabilities @ v).transpose(1, 2).reshape(op.batch * op.q_len, op.heads * op.head_dim)


def _norm(op, x):
    if op.kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + op.eps) * op.gamma + op.beta


def _rotary(op, x):
    x = x.reshape(len(x), -1, op.head_dim)
    y = x * op.cos[:, None] + x.roll(op.head_dim // 2, -1) * op.sin[:, None]
    return y.reshape(len(x), -1)


def _step(op, env):
    match op:
        case fg.FInput():
            return env[op.out]
        case fg.FConst():
            return op.values
        case fg.FEmbed():
            return op.table[env[op.ids].reshape(-1).long()]
        case fg.FLinear():
            x = env[op.x] if op.given is None else op.given.apply(env[op.x])
            return torch.nn.functional.linear(x, op.weight, op.bias)
        case fg.FAdd():
            return env[op.a] + env[op.b]
        case fg.FMultiply():
            return env[op.a] * env[op.b]
        case fg.FRotary():
            return _rotary(op, env[op.x])
        case fg.FAffine():
            return env[op.x] * op.scale + op.shift
        case fg.FUnary():
            return op.function(env[op.x])
        case fg.FNorm():
            return _norm(op, env[op.x])
        case fg.FAttention():
            return attention(env[op.q], env[op.k], env[op.v], op, None if op.mask is None else env[op.mask])
        case fg.FSelect():
            return env[op.x][op.index]
        case fg.FConcat():
            return torch.cat([env[part] for part in op.parts])[op.index]
    raise TypeError(f"no float evaluation of {type(op).__name__}")


@torch.no_grad()
def evaluate(graph, inputs, observe=None):
    """Results of ``graph`` for ``inputs`` (`FInput` name -> tensor), by tensor name."""
    env = dict(inputs)
    wanted = {output.tensor for output in graph.outputs if output.tensor is not None}
    last_use = {name: i for i, op in enumerate(graph.ops) for name in op.reads}
    for i, op in enumerate(graph.ops):
        env[op.out] = _step(op, env)
        if observe is not None:
            observe(op, env[op.out])
        for name in set(op.reads):
            if last_use[name] == i and name not in wanted:
                del env[name]
    return {name: env[name] for name in wanted}
