"""`scripts/accuracy attention`: the accelerator's attention alone, against float."""

import click
import numpy as np

from weft import qgraph
from weft.accuracy.common import decibels, show
from weft.cli.options import config_option, load_config

__all__ = ["KINDS", "attention", "attention_decibels"]

#: Standard deviation of the logits by kind of row: all keys count nearly the same, or one of them counts nearly alone.
KINDS = {"flat": 0.3, "usual": 1.0, "peaky": 6.0}

_QUERIES = 64


@click.command()
@click.option("--keys", multiple=True, default=(128, 512), show_default=True, type=click.IntRange(min=1))
@click.option("--dim", default=64, show_default=True, type=click.IntRange(1, 128), help="Features of a head.")
@config_option
def attention(keys, dim, config_name):
    """Signal-to-noise ratio in dB of attention on random rows: integers in, integers out, against float on the same."""
    config = load_config(config_name)
    show({"config": config.name, "dim": dim, **{f"{kind}_{count}_keys_db": attention_decibels(config, kind, count, dim)
                                                for count in keys for kind in KINDS}})


def attention_decibels(config, kind, keys, dim=64, heads=4, seed=0):
    """Decibels between the golden model's attention and float attention on the same integers.

    q, k and v are normal random numbers as int8, 64 queries for each of ``heads`` heads of ``dim`` features; their own
    rounding is not part of the noise, the rounding of the result to int8 is. ``kind``: of `KINDS`.
    """
    from weft.quantize.integers import LOG2E, scalar_multiplier

    rng = np.random.default_rng(seed)
    q, k, v = (_integers(rng, (rows, heads * dim)) for rows in (_QUERIES, keys, keys))
    factor = KINDS[kind] / (q.std() * k.std() * np.sqrt(dim))
    wanted = _float_attention(q, k, v, heads, factor)
    scale = np.abs(wanted).max() / 127
    score_mult, score_shift = scalar_multiplier(factor * LOG2E * 32, 2**16)
    out_mult, out_shift = scalar_multiplier(128 / scale)
    op = qgraph.Attention(
        out="result", q="q", k="k", v="v", heads=heads, kv_heads=heads, head_dim=dim, batch=1, q_len=_QUERIES,
        k_len=keys, score_mult=score_mult, score_shift=score_shift, out_mult=out_mult, out_shift=out_shift,
        block=config.key_block)
    return decibels(_on_golden(op, {"q": q, "k": k, "v": v}, config) * scale, wanted)


def _on_golden(op, inputs, config):
    """The result of one operation, int64[rows, features], by the golden model on its encoded program."""
    from weft.lower import lower
    from weft.lower.host import pack_input, unpack_output
    from weft.sim.golden import GoldenMachine

    shapes = {name: values.shape for name, values in inputs.items()} | {op.out: inputs["q"].shape}
    tensors = {name: qgraph.QTensor(name, *shape, "int8", np.ones(1)) for name, shape in shapes.items()}
    graph = qgraph.QGraph(ops=[*(qgraph.Input(out=name) for name in inputs), op], tensors=tensors,
                          outputs=[qgraph.Output(op.out, shapes[op.out])])
    lowered = lower(graph, config)
    run = GoldenMachine(lowered.image).run({t.name: pack_input(config, t, inputs[t.name]) for t in lowered.inputs})
    return unpack_output(config, lowered.outputs[0], run.outputs[op.out]).astype(np.int64)


def _integers(rng, shape):
    values = rng.standard_normal(shape)
    return np.round(values * (127 / np.abs(values).max())).astype(np.int8)


def _float_attention(q, k, v, heads, factor):
    q, k, v = (x.astype(np.float64).reshape(len(x), heads, -1).transpose(1, 0, 2) for x in (q, k, v))
    scores = factor * (q @ k.transpose(0, 2, 1))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    context = (weights / weights.sum(-1, keepdims=True)) @ v
    return context.transpose(1, 0, 2).reshape(context.shape[1], -1)
