"""Workloads for ``weft bench``: a matrix product and attention, on random integers in memory."""

import numpy as np

from weft import qgraph
from weft.lower import lower
from weft.program import Program
from weft.quantize.host import HostProgram

__all__ = ["gemm", "attention"]


def gemm(m, k, n, config, seed=0):
    """``[m, k] x [k, n]``: int8 operand and result in memory, streamed int8 weights, one multiplier for each column.

    Returns ``(program, args, kwargs)`` with random arguments for ``program.run``.
    """
    rng = np.random.default_rng(seed)
    # Results spread over the range of int8, so that a wrong product shows.
    mult = np.round(2.0 ** 24 * 40 / (74 * 74 * np.sqrt(k)) * rng.uniform(0.7, 1.3, n)).astype(np.int32)
    rescale = qgraph.Rescale(rng.integers(-1000, 1000, n).astype(np.int32), np.minimum(mult, 131071),
                             np.full(n, 24, np.int32), "int8")
    weight = rng.integers(-127, 128, (n, k)).astype(np.int8)
    origin = qgraph.Origin("gemm", "gemm", m * k * n)
    ops = [qgraph.Input(out="a"), qgraph.Linear(out="result", origin=origin, x="a", weight=weight, rescale=rescale)]
    return _program({"a": (m, k)}, {"result": (m, n)}, ops, config, rng)


def attention(heads, seq, dim, config, seed=0):
    """``softmax(q k^T) v`` of ``heads`` heads of ``dim`` features over ``seq`` queries and keys, all in memory.

    Returns ``(program, args, kwargs)`` with random arguments for ``program.run``.
    """
    shape = (seq, heads * dim)
    # Scores of a few octaves, as in trained models: neither flat nor one key alone.
    score = 32 * 3 / (74 * 74 * np.sqrt(dim))
    shift = int(np.floor(16 - np.log2(score)))
    op = qgraph.Attention(
        out="result", origin=qgraph.Origin("attention", "attention", 2 * heads * seq * seq * dim), q="q", k="k", v="v",
        heads=heads, kv_heads=heads, head_dim=dim, batch=1, q_len=seq, k_len=seq,
        score_mult=int(score * 2.0 ** shift), score_shift=shift, out_mult=1 << 15, out_shift=7, block=config.key_block)
    ops = [*(qgraph.Input(out=name) for name in "qkv"), op]
    return _program(dict.fromkeys("qkv", shape), {"result": shape}, ops, config, np.random.default_rng(seed))


def _program(inputs, outputs, ops, config, rng):
    tensors = {name: qgraph.QTensor(name, *shape, "int8", np.ones(1)) for name, shape in {**inputs, **outputs}.items()}
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
