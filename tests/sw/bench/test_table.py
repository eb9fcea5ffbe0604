"""The table of figures: its rows, and a miniature of it."""

import inspect
import json
from contextlib import contextmanager

import pytest

import weft
from weft.bench import bench_attention, bench_ffn, bench_gemm, bench_mha, bench_model, table
from weft.bench.table import METRICS, ROWS, Row, chosen, measure, table_lines
from weft.bench.versions import versions
from weft.cli import main
from weft.hw.errors import InputError

FUNCTIONS = {"gemm": bench_gemm, "attention": bench_attention, "mha": bench_mha, "ffn": bench_ffn, "model": bench_model}
GEMM = dict(m=8, k=16, n=8)
SMALL = (
    Row("product", "gemm", GEMM, "tiny", 0.01),
    Row("product, hopeless", "gemm", GEMM, "tiny", 1.1, "roofline_utilization"),
    Row("speed of product", "gemm", GEMM, "tiny", 0.001, "sim_khz"),
    Row("head", "mha", dict(heads=1, seq=8, embed=8, head_dim=8), "tiny", 0.01),
    Row("nothing", "model", dict(name="nowhere"), "tiny", 0.5),
    Row("zeros", "gemm", dict(m=24, k=64, n=32, zero_tiles=0.5), "tiny", 1.2, "times_faster", dict(zero_tiles=0.0)),
    Row("memory", "gemm", dict(m=24, k=64, n=32, zero_tiles=0.5), "tiny", 0.5, "weight_share"),
    Row("impossible", "gemm", dict(GEMM, weights="dense"), "tiny", 1.2, "times_faster", dict(weights="w5")),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.config} {row.metric}")
def test_every_row_can_be_called(row):
    config = weft.Config.load(row.config)
    inspect.signature(FUNCTIONS[row.bench]).bind(**row.arguments, config=config, tell=None)
    assert row.goal is None or (row.goal > 1 if row.metric in ("sim_khz", "times_faster") else 0 < row.goal < 1)
    assert (row.against is not None) == (row.metric == "times_faster") and set(row.against or ()) <= set(row.arguments)
    assert row.metric in METRICS and row.arguments.get("name", "minilm") in weft.bench.MODELS


def test_rows_are_chosen_by_name():
    assert chosen() == list(ROWS)
    assert {row.bench for row in chosen("gemm ")} == {"gemm"} and len(chosen("GEMM *x256x256")) == 1
    with pytest.raises(InputError, match="'gemmm'.*MiniLM"):
        chosen("gemmm")


def test_a_miniature_is_measured(monkeypatch):
    runs, records = [], []
    monkeypatch.setitem(table._BENCHES, "gemm", lambda **a: runs.append(a) or bench_gemm(**a))

    @contextmanager
    def tell(row):
        yield lambda words: None

    assert measure(SMALL, tell, records.append) == records
    assert len(runs) == 5, "rows of the same work share a run"
    assert [r["met"] for r in records] == [True, False, True, True, False, True, True, False]
    assert [r["exact"] for r in records] == [True, True, True, True, False, True, True, False]
    assert records[5]["result"] == records[5]["figures"]["against"]["cycles"] / records[5]["figures"]["cycles"]
    assert records[6]["result"] == 0.5
    assert records[2]["result"] == records[0]["figures"]["sim_khz"] > 0
    lines = table_lines(records)
    assert len(lines) == 10 and "of peak" in lines[2] and "(missed)" in lines[3] and "110.0%" in lines[3]
    assert "InputError: no model 'nowhere'" in lines[6] and lines[6].endswith("| NO |")
    assert "x fewer cycles | 1.20 | " in lines[7] and "of int8 weights | at most 0.500 | 0.500 | " in lines[8]
    assert "weights must be dense" in lines[9]


def test_a_difference_misses_every_goal():
    record = table.record(SMALL[0], {"utilization": 0.9, "exact": False, "cycles": 10, "sim_khz": 1})
    assert not record["met"] and table_lines([record])[-1].endswith("(missed) | 10 | NO |")


def test_a_row_without_a_goal_is_neither_met_nor_missed():
    record = table.record(Row("one", "gemm", GEMM, "tiny", None), {"utilization": 0.9, "exact": True, "cycles": 10})
    assert record["met"] is None and table_lines([record])[-1] == "| one | tiny | of peak | none | 90.0% | 10 | yes |"


def test_the_command_prints_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "ROWS", SMALL)
    for only, status, met in (("produc*", 0, 1), ("nothing", 1, 0)):
        with pytest.raises(SystemExit) as stop:
            main(["bench", "table", "--only", only, "--out", str(tmp_path / "out" / "bench.json")])
        assert stop.value.code == status
        out = capsys.readouterr().out
        document = json.loads((tmp_path / "out" / "bench.json").read_text())
        assert len(document["rows"]) == len([line for line in out.splitlines() if "| tiny |" in line])
        assert sum(row["met"] for row in document["rows"]) == met
        assert document["versions"]["configs"] == {"tiny": f"0x{weft.Config.named('tiny').fingerprint:08x}"}


def test_versions_name_what_a_figure_depends_on():
    found = versions([weft.Config.named("base")])
    assert found["weft"] == weft.__version__ and found["python"].startswith("3.")
    assert found["verilator"][0].isdigit() and found["amaranth"].startswith("0.5") and found["processor"]
    json.dumps(found)
