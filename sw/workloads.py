"""Workloads for ``weft bench``: a matrix product, attention, an attention layer, on random integers in memory."""

import numpy as np

from weft import qgraph
from weft.lower import lower
from weft.program import Program
from weft.quantize.host import HostProgram

__all__ = ["attention", "gemm", "mha"]

#: Spread of uniform int8 values, and the one that results have: most of the range, so that a wrong product shows.
_UNIFORM, _SPREAD = 74, 40


def gemm(m, k, n, config, seed=0):
    """``[m, k] x [k, n]``: int8 operand and result in memory, streamed int8 weights, one multiplier for each column.

    Returns ``(program, args, kwargs)`` with random arguments for ``program.run``.
    """
    rng = np.random.default_rng(seed)
    ops = [qgraph.Input(out="a"), _linear("a", "result", m, k, n, _UNIFORM, rng, "gemm")]
    return _program({"a": (m, k)}, {"result": (m, n)}, ops, config, rng)


def attention(heads, seq, dim, config, causal=False, seed=0):
    """``softmax(q k^T) v`` of ``heads`` heads of ``dim`` features over ``seq`` queries and keys, all in memory.

    ``causal``: no query sees later keys. Returns ``(program, args, kwargs)`` with random arguments for ``program.run``.
    """
    shape = (seq, heads * dim)
    ops = [*(qgraph.Input(out=name) for name in "qkv"),
           _attention("result", heads, seq, dim, config, _UNIFORM, causal)]
    return _program(dict.fromkeys("qkv", shape), {"result": shape}, ops, config, np.random.default_rng(seed))


def mha(heads, seq, embed, head_dim, config, seed=0):
    """One attention layer: projections of ``[seq, embed]`` to q, k and v, attention, projection back to ``embed``.

    Returns ``(program, args, kwargs)`` with random arguments for ``program.run``.
    """
    rng, width = np.random.default_rng(seed), heads * head_dim
    ops = [qgraph.Input(out="x"),
           *(_linear("x", name, seq, embed, width, _UNIFORM, rng, f"{name}_proj") for name in "qkv"),
           _attention("context", heads, seq, head_dim, config, _SPREAD),
           _linear("context", "result", seq, width, embed, _SPREAD, rng, "o_proj")]
    return _program({"x": (seq, embed)}, {"result": (seq, embed)}, ops, config, rng,
                    dict.fromkeys(("q", "k", "v", "context"), (seq, width)))


def _linear(x, out, m, k, n, spread, rng, name):
    """A layer of random weights whose results spread over int8 where its operand's values spread over ``spread``."""
    mult = np.round(2.0 ** 24 * _SPREAD / (_UNIFORM * spread * np.sqrt(k)) * rng.uniform(0.7, 1.3, n)).astype(np.int32)
    rescale = qgraph.Rescale(rng.integers(-1000, 1000, n).astype(np.int32), np.minimum(mult, 131071),
                             np.full(n, 24, np.int32), "int8")
    weight = rng.integers(-127, 128, (n, k)).astype(np.int8)
    return qgraph.Linear(out=out, origin=qgraph.Origin(name, name, m * k * n), x=x, weight=weight, rescale=rescale)


def _attention(out, heads, seq, dim, config, spread, causal=False):
    """Attention of tensors q, k and v, the values of q and k spread over ``spread``."""
    # Scores of a few octaves, as in trained models: neither flat nor one key alone.
    score = 32 * 3 / (spread * spread * np.sqrt(dim))
    shift = int(np.floor(16 - np.log2(score)))
    pairs = seq * (seq + 1) // 2 if causal else seq * seq
    return qgraph.Attention(
        out=out, origin=qgraph.Origin("attention", "attention", 2 * heads * pairs * dim), q="q", k="k", v="v",
        heads=heads, kv_heads=heads, head_dim=dim, batch=1, q_len=seq, k_len=seq, causal=causal,
        score_mult=int(score * 2.0 ** shift), score_shift=shift, out_mult=1 << 15, out_shift=7, block=config.key_block)


def _program(inputs, outputs, ops, config, rng, inner=None):
    """The program of ``ops``; inputs, outputs and ``inner`` tensors are int8, ``{name: (rows, features)}``."""
    shapes = {**inputs, **outputs, **(inner or {})}
    tensors = {name: qgraph.QTensor(name, *shape, "int8", np.ones(1)) for name, shape in shapes.items()}
    graph = qgraph.QGraph(ops=ops, tensors=tensors, outputs=[qgraph.Output(n, s) for n, s in outputs.items()])
    host = HostProgram(
        leaves=[{"path": [i], "shape": list(s), "dtype": "float32", "value": i} for i, s in enumerate(inputs.values())],
        steps=[{"op": "input", "args": [i], "kwargs": {}, "shape": list(s), "dtype": "float32"}
               for i, s in enumerate(inputs.values())],
        bindings=[{"tensor": n, "value": i, "kind": "float", "rows": s[0], "features": s[1], "scale": 1.0, "zero": 0,
                   "dtype": "int8"} for i, (n, s) in enumerate(inputs.items())],
        outputs=[{"shape": list(s), "tensor": n, "scale": "scale", "zero": 0, "index": None, "token_axes": []}
                 for n, s in outputs.items()],
        arrays={"scale": np.ones(1)})
    args = tuple(rng.integers(-127, 128, shape).astype(np.float32) for shape in inputs.values())
    return Program.from_lowered(lower(graph, config), host, graph.macs), args, {}
