"""Workloads for ``weft bench``: a matrix product, attention, an attention layer, on random integers in memory."""

from dataclasses import replace

import numpy as np

from weft import qgraph
from weft.hw.errors import InputError
from weft.hw.isa import CIRCULANT_BLOCKS
from weft.lower import lower
from weft.program import Program
from weft.quantize.host import HostProgram
from weft.weights import GROUPS, SPARSITIES, CirculantWeights, GroupedWeights, four_bit_group

__all__ = ["attention", "gemm", "mha", "weights_kind", "zeroed"]

#: Spread of uniform int8 values and of 4-bit ones times uniform scales, and the one that results have: most of the range,
#: so that a wrong product shows.
_UNIFORM, _FOUR_BIT, _SPREAD = 74, 42, 40


def weights_kind(weights):
    """``(kind, number)`` of a bench's weights by their name: ("dense", 0), ("sparse", weights that are not zero among 4),
    ("four_bit", inputs with one scale) or ("circulant", size of the blocks).

    Raises InputError for an unknown name.
    """
    if weights == "dense":
        return "dense", 0
    if weights in SPARSITIES:
        return "sparse", SPARSITIES[weights][0]
    if four_bit_group(weights):
        return "four_bit", four_bit_group(weights)
    blocks = {f"circulant:{b}": b for b in CIRCULANT_BLOCKS}
    if weights in blocks:
        return "circulant", blocks[weights]
    raise InputError(f"weights must be dense, {', '.join(SPARSITIES)}, w4g{GROUPS[0]} to w4g{GROUPS[-1]}, or "
                     f"{', '.join(blocks)}, not {weights!r}")


def gemm(m, k, n, config, seed=0, weights="dense", zero_tiles=0.0):
    """``[m, k] x [k, n]``: int8 operand and result in memory, streamed weights, one multiplier for each column.

    ``weights``: "dense" (int8), "2:4" or "1:4" (so many of 4 neighbours along K are not zero) or, for example, "w4g32" (4 bits,
    a scale for each 32 inputs) or "circulant:8" (circulant blocks of 8 x 8); ``zero_tiles``: share of the array's weight tiles
    (of sparse weights, which cover more inputs), drawn at random, that hold zeros only. Returns ``(program, args, kwargs)`` with
    random arguments for ``program.run``.
    """
    rng = np.random.default_rng(seed)
    layer = _linear("a", "result", m, k, n, _UNIFORM, rng, "gemm", weights)
    kind, number = weights_kind(weights)
    inputs = config.rows * (4 // number if kind == "sparse" else 1)
    ops = [qgraph.Input(out="a"), _zeroed(layer, zero_tiles, config.cols, inputs, rng) if zero_tiles else layer]
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


def _weights(n, k, rng, name):
    """Random weights int8[n, k], and their form if they are compressed."""
    kind, number = weights_kind(name)
    if kind == "circulant":
        form = CirculantWeights(rng.integers(-127, 128, (n // number, k // number, number)).astype(np.int8))
        return form.expand(), form
    if kind == "sparse":
        chosen = rng.random((n, -(-k // 4), 4)).argsort(-1).argsort(-1) < number
        values = rng.integers(1, 128, (n, k)) * rng.choice([-1, 1], (n, k))
        return (values * chosen.reshape(n, -1)[:, :k]).astype(np.int8), None
    if kind == "dense":
        return rng.integers(-127, 128, (n, k)).astype(np.int8), None
    form = GroupedWeights(rng.integers(-8, 8, (n, k)).astype(np.int8),
                          rng.integers(1, 16, (n, -(-k // number))).astype(np.uint8), number)
    return form.expand(), form


def zeroed(layer, zero, outputs, inputs):
    """A `weft.qgraph.Linear` whose weights are zero where ``zero`` bool[n, k] says, of tiles of ``outputs`` times ``inputs``
    weights."""
    n, k = layer.weight.shape
    keep = ~np.kron(zero, np.ones((outputs, inputs), bool))[:n, :k]
    form = layer.compressed
    if isinstance(form, CirculantWeights):
        form = CirculantWeights.of(layer.weight * keep, form.block)
    elif form:
        form = replace(form, values=form.values * keep)
    return replace(layer, weight=layer.weight * keep, compressed=form)


def _zeroed(layer, share, outputs, inputs, rng):
    """``layer`` with zeros in a share of its tiles of ``outputs`` times ``inputs`` weights."""
    n, k = layer.weight.shape
    tiles = -(-n // outputs), -(-k // inputs)
    zero = rng.permutation(tiles[0] * tiles[1]).reshape(tiles) < round(share * tiles[0] * tiles[1])
    return zeroed(layer, zero, outputs, inputs)


def _linear(x, out, m, k, n, spread, rng, name, weights="dense"):
    """A layer of random weights whose results spread over int8 where its operand's values spread over ``spread``."""
    kind, number = weights_kind(weights)
    own = _FOUR_BIT if kind == "four_bit" else _UNIFORM * np.sqrt(number / 4 if kind == "sparse" else 1)
    mult = np.round(2.0 ** 24 * _SPREAD / (own * spread * np.sqrt(k)) * rng.uniform(0.7, 1.3, n)).astype(np.int32)
    rescale = qgraph.Rescale(rng.integers(-1000, 1000, n).astype(np.int32), np.minimum(mult, 131071),
                             np.full(n, 24, np.int32), "int8")
    weight, form = _weights(n, k, rng, weights)
    return qgraph.Linear(out=out, origin=qgraph.Origin(name, name, m * k * n), x=x, weight=weight, rescale=rescale,
                         compressed=form)


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
    return Program.from_lowered(lower(graph, config), host), args, {}
