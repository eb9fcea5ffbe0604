"""The table of figures: what is measured, what each figure should at least be, and what it is."""

from dataclasses import dataclass, replace
from fnmatch import fnmatch

from weft.bench.feedforward import bench_ffn
from weft.bench.models import bench_model
from weft.bench.operators import bench_attention, bench_gemm, bench_mha
from weft.hw.config import Config
from weft.hw.errors import InputError, WeftError

__all__ = ["METRICS", "ROWS", "Row", "chosen", "measure", "record", "table_lines"]

_BENCHES = {"gemm": bench_gemm, "attention": bench_attention, "mha": bench_mha, "ffn": bench_ffn, "model": bench_model}
#: How each metric is shown: its name, and the format of goal and result.
METRICS = {"utilization": ("of peak", "{:.1%}"), "roofline_utilization": ("of roofline", "{:.1%}"),
           "sim_khz": ("k cycles/s", "{:.0f}"), "times_faster": ("x fewer cycles", "{:.2f}"),
           "weight_share": ("of int8 weights", "{:.3f}")}
#: Metrics of which a goal is the most, not the least.
_AT_MOST = {"weight_share"}


@dataclass(frozen=True)
class Row:
    """A figure: ``bench`` (gemm, attention, mha, ffn, model) with ``arguments`` on configuration ``config`` (name or file);
    ``metric`` of its figures should be at least ``goal`` (at most, for a share of memory; None: there is no goal). ``against``:
    arguments that are different in the work that it is compared with, in "times_faster"."""
    name: str
    bench: str
    arguments: dict
    config: str
    goal: float | None
    metric: str = "utilization"
    against: dict | None = None

    @property
    def work(self):
        """Equal for rows that one run serves."""
        return self.bench, tuple(sorted((name, str(value)) for name, value in self.arguments.items())), self.config

    @property
    def reference(self):
        """The row whose cycles this one's are compared with, or None."""
        return None if self.against is None else replace(self, arguments={**self.arguments, **self.against}, against=None)


_BERT = dict(name="bert-base", seq=128)
_DECODING = dict(m=1, k=768, n=3072)
_PRUNED = dict(m=128, k=768, n=3072)

ROWS = (
    Row("GEMM 128x768x768", "gemm", dict(m=128, k=768, n=768), "base", 0.98),
    Row("GEMM 512x768x3072", "gemm", dict(m=512, k=768, n=3072), "base", 0.99),
    Row("GEMM 128x256x256", "gemm", dict(m=128, k=256, n=256), "base", 0.95),
    Row("GEMM 64x64x64", "gemm", dict(m=64, k=64, n=64), "base", 0.75),
    Row("one attention head with projections, S = 128, E = 512, P = 64", "mha",
        dict(heads=1, seq=128, embed=512, head_dim=64), "base", 0.98),
    Row("attention, 12 heads, 512 tokens, d = 64", "attention", dict(heads=12, seq=512, dim=64), "base", 0.97),
    Row("causal attention, 12 heads, 512 tokens, d = 64", "attention", dict(heads=12, seq=512, dim=64, causal=True),
        "base", 0.92),
    Row("attention, 12 heads, 128 tokens, d = 32", "attention", dict(heads=12, seq=128, dim=32), "base", 0.93),
    Row("BERT-base, 128 tokens", "model", _BERT, "base", 0.97),
    Row("BERT-base, 128 tokens", "model", _BERT, "large", 0.95),
    Row("MiniLM, 32 tokens", "model", dict(name="minilm", seq=32), "base", 0.95),
    Row("ViT-Tiny, 197 tokens", "model", dict(name="vit-tiny"), "base", 0.94),
    Row("GPT-2 small, one token after 128", "model", dict(name="gpt2-decode", seq=128), "base", 0.95,
        "roofline_utilization"),
    Row("Shakespeare, one token after 128", "model", dict(name="shakespeare-decode", seq=128), "base", 0.78,
        "roofline_utilization"),
    Row("RTL simulation, BERT-base", "model", _BERT, "base", 400, "sim_khz"),
    Row("RTL simulation, BERT-base", "model", _BERT, "large", 60, "sim_khz"),
    # Compressed weights, each beside dense ones; a named configuration gets the option that they need.
    Row("GEMM 128x768x768, half of the weight tiles zero", "gemm", dict(m=128, k=768, n=768, zero_tiles=0.5), "base", 1.95,
        "times_faster", dict(zero_tiles=0.0)),
    Row("half of a feed-forward block's neurons pruned, 128 tokens, 768-3072-768", "ffn",
        dict(seq=128, width=768, inner=3072, pruned=0.5), "base", 1.9, "times_faster", dict(pruned=0.0)),
    Row("GEMM 128x768x3072, 2:4", "gemm", dict(_PRUNED, weights="2:4"), "base", 1.9, "times_faster", dict(weights="dense")),
    Row("GEMM 128x768x3072, 1:4", "gemm", dict(_PRUNED, weights="1:4"), "base", 3.8, "times_faster", dict(weights="dense")),
    Row("BERT-base, 128 tokens, linear layers 2:4", "model", dict(_BERT, weights="2:4"), "base", 1.87, "times_faster",
        dict(weights="dense")),
    Row("memory of 768x3072 weights, 2:4", "gemm", dict(_DECODING, weights="2:4"), "base", 0.625, "weight_share"),
    Row("matrix-vector product 768x3072, w4g32", "gemm", dict(_DECODING, weights="w4g32"), "base", 1.8, "times_faster",
        dict(weights="dense")),
    Row("matrix-vector product 768x3072, circulant b = 8", "gemm", dict(_DECODING, weights="circulant:8"), "base", 6.5,
        "times_faster", dict(weights="dense")),
    Row("matrix-vector product 768x3072, circulant b = 16", "gemm", dict(_DECODING, weights="circulant:16"), "base", 11,
        "times_faster", dict(weights="dense")),
    Row("memory of 768x3072 weights, circulant b = 8", "gemm", dict(_DECODING, weights="circulant:8"), "base", 0.125,
        "weight_share"),
    Row("memory of 768x3072 weights, w4g32", "gemm", dict(_DECODING, weights="w4g32"), "base", 0.52, "weight_share"),
    Row("GPT-2 small, one token after 128, w4g32 but for the vocabulary", "model",
        dict(name="gpt2-decode", seq=128, quantization={"*": "w4g32", "lm_head": "w8"}),
        "base", None, "roofline_utilization"),
    Row("GPT-2 small, one token after 128, circulant b = 8 but for the vocabulary", "model",
        dict(name="gpt2-circulant-decode", seq=128), "base", None, "roofline_utilization"),
)


def chosen(pattern=None):
    """The rows whose name contains ``pattern`` or matches it (``*``, ``?``), ignoring case; InputError for none."""
    if pattern is None:
        return list(ROWS)
    low = pattern.lower()
    found = [row for row in ROWS if low in row.name.lower() or fnmatch(row.name.lower(), low)]
    if not found:
        names = "; ".join(sorted({row.name for row in ROWS}))
        raise InputError(f"no row of the table matches {pattern!r}; there are: {names}")
    return found


def measure(rows, tell, done=lambda record: None):
    """Measures rows one after the other; returns `record` of each.

    ``tell(row)``: a context manager that yields a function for progress in words; ``done``: called with each record. A
    row that cannot be run has the reason in its record, and the others go on.
    """
    known, records = {}, []
    for row in rows:
        for one in (row, row.reference):
            if one is not None and one.work not in known:
                known[one.work] = _figures(one, tell)
        records.append(record(row, known[row.work], row.reference and known[row.reference.work]))
        done(records[-1])
    return records


def _figures(row, tell):
    with tell(row) as say:
        try:
            return _BENCHES[row.bench](**row.arguments, config=Config.load(row.config), tell=say)
        except WeftError as error:
            return {"error": f"{type(error).__name__}: {error}"}


def record(row, figures, reference=None):
    """A row with its figures, and those of what it is compared with, plain values for JSON; ``met`` only where every byte was
    equal as well, None without a goal."""
    if reference is not None and "error" not in figures:
        if "error" in reference:
            figures = reference
        else:
            figures = {**figures, "times_faster": reference["cycles"] / figures["cycles"], "against": reference,
                       "exact": figures["exact"] and reference["exact"]}
    result = figures.get(row.metric)
    exact = figures.get("exact", False)
    met = None
    if row.goal is not None:
        met = bool(exact and (result <= row.goal if row.metric in _AT_MOST else result >= row.goal))
    return {"name": row.name, "config": row.config, "metric": row.metric, "goal": row.goal, "result": result,
            "met": met, "exact": exact, "figures": figures}


def table_lines(records):
    """A Markdown table of records."""
    lines = ["| work | config | | goal | measured | cycles | exact |", "|---|---|---|---|---|---|---|"]
    for r in records:
        unit, shown = METRICS[r["metric"]]
        measured = r["figures"]["error"] if "error" in r["figures"] else shown.format(r["result"])
        goal = "none" if r["goal"] is None else ("at most " if r["metric"] in _AT_MOST else "") + shown.format(r["goal"])
        cells = (r["name"], r["config"], unit, goal, measured + (" (missed)" if r["met"] is False else ""),
                 f"{r['figures']['cycles']:,}" if "cycles" in r["figures"] else "", "yes" if r["exact"] else "NO")
        lines.append("| " + " | ".join(cells) + " |")
    return lines
