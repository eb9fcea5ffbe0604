"""Benches: a workload on the RTL with the reference memory, every byte compared with the golden model."""

__all__ = ["bench_attention", "bench_gemm", "bench_model"]

SENTENCE = ("The small boat crossed the bay before the storm and reached the old harbour, "
            "where the whole village was waiting with lamps and blankets for the tired crew.")


def bench_gemm(m, k, n, config):
    """One matrix product [m, k] x [k, n] of random operands; the figures as a dict."""
    from weft import workloads

    return {"workload": "gemm", "m": m, "k": k, "n": n, **_measure(*workloads.gemm(m, k, n, config))}


def bench_attention(heads, seq, dim, config):
    """Attention over `seq` random queries and keys of `heads` heads; the figures as a dict."""
    from weft import workloads

    return {"workload": "attention", "heads": heads, "seq": seq, "dim": dim,
            **_measure(*workloads.attention(heads, seq, dim, config))}


def bench_model(name, seq, config):
    """A text model, "minilm" or a local Hugging Face folder, on a text that fills `seq` tokens."""
    from weft.text import compile_folder, encode, minilm_folder

    program = compile_folder(minilm_folder() if name == "minilm" else name, seq, config)
    # Long enough for any length, then cut: padding would leave work out that utilization counts.
    args, kwargs = encode(program, " ".join([SENTENCE] * (seq // 16 + 1)), truncate=True)
    return {"workload": "model", "model": name, "seq": seq, **_measure(program, args, kwargs)}


def _measure(program, args, kwargs):
    """Verify on both backends; `exact` is true only if every byte was compared and equal."""
    from weft.hw.errors import Mismatch

    try:
        stats, exact, difference = program.verify(args, kwargs).stats, True, None
    except Mismatch as error:
        stats, exact, difference = program.run(args, kwargs, backend="rtl").stats, False, str(error)
    config = program.config
    figures = {
        "config": config.name, "rows": config.rows, "cols": config.cols,
        "cycles": stats.cycles, "macs": stats.macs, "utilization": round(stats.utilization, 4),
        "roofline_cycles": stats.roofline_cycles,
        "dram_read_bytes": stats.dram_read_bytes, "dram_write_bytes": stats.dram_write_bytes,
        "exact": exact, "sim_khz": round(stats.sim_khz, 1),
    }
    if difference is not None:
        figures["difference"] = difference
    return figures
