"""The table of figures: what is measured, what each figure should at least be, and what it is."""

from dataclasses import dataclass
from fnmatch import fnmatch

from weft.bench.models import bench_model
from weft.bench.operators import bench_attention, bench_gemm, bench_mha
from weft.hw.config import Config
from weft.hw.errors import InputError, WeftError

__all__ = ["METRICS", "ROWS", "Row", "chosen", "measure", "record", "table_lines"]

_BENCHES = {"gemm": bench_gemm, "attention": bench_attention, "mha": bench_mha, "model": bench_model}
#: How each metric is shown: its name, and the format of goal and result.
METRICS = {"utilization": ("of peak", "{:.1%}"), "roofline_utilization": ("of roofline", "{:.1%}"),
           "sim_khz": ("k cycles/s", "{:.0f}")}


@dataclass(frozen=True)
class Row:
    """A figure: ``bench`` (gemm, attention, mha, model) with ``arguments`` on configuration ``config`` (name or file);
    ``metric`` of its figures should be at least ``goal``."""
    name: str
    bench: str
    arguments: dict
    config: str
    goal: float
    metric: str = "utilization"

    @property
    def work(self):
        """Equal for rows that one run serves."""
        return self.bench, tuple(sorted(self.arguments.items())), self.config


_BERT = dict(name="bert-base", seq=128)

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
        if row.work not in known:
            known[row.work] = _figures(row, tell)
        records.append(record(row, known[row.work]))
        done(records[-1])
    return records


def _figures(row, tell):
    with tell(row) as say:
        try:
            return _BENCHES[row.bench](**row.arguments, config=Config.load(row.config), tell=say)
        except WeftError as error:
            return {"error": f"{type(error).__name__}: {error}"}


def record(row, figures):
    """A row with its figures, plain values for JSON; ``met`` only where every byte was equal as well."""
    result = figures.get(row.metric)
    exact = figures.get("exact", False)
    return {"name": row.name, "config": row.config, "metric": row.metric, "goal": row.goal, "result": result,
            "met": bool(exact and result >= row.goal), "exact": exact, "figures": figures}


def table_lines(records):
    """A Markdown table of records."""
    lines = ["| work | config | | at least | measured | cycles | exact |", "|---|---|---|---|---|---|---|"]
    for r in records:
        unit, shown = METRICS[r["metric"]]
        measured = r["figures"]["error"] if "error" in r["figures"] else shown.format(r["result"])
        cells = (r["name"], r["config"], unit, shown.format(r["goal"]), measured + ("" if r["met"] else " (missed)"),
                 f"{r['figures']['cycles']:,}" if "cycles" in r["figures"] else "", "yes" if r["exact"] else "NO")
        lines.append("| " + " | ".join(cells) + " |")
    return lines
