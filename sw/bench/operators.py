"""Benches of matrix products, attention and one attention layer, on random integers."""

from weft import workloads
from weft.bench.figures import no_words, program_figures
from weft.bench.options import with_weights

__all__ = ["bench_attention", "bench_gemm", "bench_mha"]


def bench_gemm(m, k, n, config, weights="dense", zero_tiles=0.0, tell=no_words):
    """One matrix product [m, k] x [k, n] of random operands; the figures as a dict.

    ``weights``: "dense" (int8), "2:4" or "1:4" (so many of 4 neighbours along K are not zero), "w4g16" to "w4g128": 4 bits, a
    scale for each so many inputs, or "circulant:4", "circulant:8", "circulant:16": circulant blocks. A named configuration gets
    the option that they need. ``zero_tiles``: share of the weight tiles that hold zeros only, drawn at random. Raises
    InputError where the configuration does not take such weights. Among the figures are ``weight_bytes``, of values, indices
    and scales as they are stored, padding left out, and ``weight_share``, of what int8 takes.
    """
    config = with_weights(config, weights, k=k, n=n)
    program, args, kwargs = workloads.gemm(m, k, n, config, weights=weights, zero_tiles=zero_tiles)
    return {"workload": "gemm", "m": m, "k": k, "n": n, "weights": weights, "zero_tiles": zero_tiles,
            "weight_bytes": program.weight_bytes, "weight_share": round(program.weight_bytes / (k * n), 4),
            **program_figures(program, args, kwargs, tell)}


def bench_attention(heads, seq, dim, config, causal=False, tell=no_words):
    """Attention over `seq` random queries and keys of `heads` heads; the figures as a dict.

    With `causal` no query sees later keys, and products on and below the diagonal count.
    """
    return {"workload": "attention", "heads": heads, "seq": seq, "dim": dim, "causal": causal,
            **program_figures(*workloads.attention(heads, seq, dim, config, causal), tell)}


def bench_mha(heads, seq, embed, head_dim, config, tell=no_words):
    """An attention layer on [seq, embed]: projections to queries, keys and values, attention, output projection."""
    return {"workload": "mha", "heads": heads, "seq": seq, "embed": embed, "head_dim": head_dim,
            **program_figures(*workloads.mha(heads, seq, embed, head_dim, config), tell)}
