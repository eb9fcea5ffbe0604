"""The trace and the page, and the command that writes them."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import weft
from weft import workloads
from weft.cli import main
from weft.hw.control.register_map import THREADS
from weft.profile.figures import activity, alike, bus_activity, groups, longest_waits, short_names, work_activity
from weft.profile.instructions import Slices
from weft.profile.report import report_page
from weft.profile.runs import random_inputs
from weft.profile.stalls import Released, Runs
from weft.profile.trace import trace_events


@pytest.fixture(scope="module")
def trace(profile):
    return json.loads(json.dumps(trace_events([profile])))


def test_the_trace_is_in_chromes_format(trace, profile):
    assert trace["displayTimeUnit"] in ("ms", "ns")
    kinds = defaultdict(list)
    for event in trace["traceEvents"]:
        kinds[event["ph"]].append(event)
        assert event["pid"] == 1 and isinstance(event["name"], str)
        if event["ph"] != "M":
            assert isinstance(event["ts"], int) and 0 <= event["ts"] <= profile.stats.cycles
    assert set(kinds) == {"M", "X", "C", "s", "f"}
    rows = {event["tid"]: event["args"]["name"] for event in kinds["M"] if event["name"] == "thread_name"}
    assert list(rows.values()) == ["dispatch", *THREADS]
    assert all(event["dur"] > 0 and event["ts"] + event["dur"] <= profile.stats.cycles for event in kinds["X"])
    assert sorted(e["id"] for e in kinds["s"]) == sorted(e["id"] for e in kinds["f"])
    assert len({e["id"] for e in kinds["s"]}) == len(kinds["s"])
    assert {e["name"] for e in kinds["C"]} == {"read beats in 64 cycles", "write beats in 64 cycles"}


def test_slices_of_a_row_lie_inside_or_beside_each_other(trace):
    rows = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            rows[event["tid"]].append((event["ts"], -event["dur"]))
    for spans in rows.values():
        open_ends = []
        for start, negative in sorted(spans):
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert not open_ends or start - negative <= open_ends[-1]
            open_ends.append(start - negative)


def test_arrows_begin_and_end_in_slices(trace):
    spans = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            spans[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for event in trace["traceEvents"]:
        if event["ph"] in "sf":
            assert any(start <= event["ts"] < end for start, end in spans[event["tid"]]), event


def test_counters_of_long_runs_are_coarser(profile, monkeypatch):
    from weft.profile import trace as module

    monkeypatch.setattr(module, "_COUNTED", 5)
    counts = [e for e in trace_events([profile])["traceEvents"] if e["ph"] == "C"]
    intervals = len(profile.recording.write_beats)
    step = -(-intervals // 5) * profile.recording.interval
    assert step > profile.recording.interval
    assert {e["name"] for e in counts} == {f"read beats in {step} cycles", f"write beats in {step} cycles"}
    times, values = zip(*((e["ts"], e["args"]["beats"]) for e in counts if e["name"].startswith("write")))
    assert all(time % step == 0 for time in times)
    lasts = np.diff([*times, -(-profile.stats.cycles // step) * step]) // step
    assert (lasts * values).sum() == profile.recording.write_beats.sum()


def test_a_stall_across_instructions_is_cut_between_them(profile):
    slices = dict.fromkeys(THREADS, Slices(*np.zeros((3, 0), np.int64)))
    states = dict.fromkeys(THREADS, Runs(*(np.array([n]) for n in (0, 60, 0, 0))))
    nobody = dict.fromkeys(THREADS, Released(*np.full((3, 3), -1)))
    slices["vector"] = Slices(np.array([0, 1]), np.array([10, 30]), np.array([30, 50]))
    states["vector"] = Runs(*(np.array(n) for n in ([0, 20, 40], [20, 40, 60], [0, 3, 0], [0, 0, 0])))
    events = trace_events([replace(profile, slices=slices, states=states, released=nobody)])["traceEvents"]
    assert [(e["ts"], e["dur"]) for e in events if e.get("cat") == "wait_memory"] == [(20, 10), (30, 10)]


def test_the_trace_shows_every_instruction_and_stall(trace, profile):
    instructions, stalls = defaultdict(set), defaultdict(int)
    rows = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    for event in trace["traceEvents"]:
        if event["ph"] != "X" or event["cat"] == "dispatch":
            continue
        thread = rows[event["tid"]]
        if event["cat"].startswith(("wait", "drain")):
            stalls[thread, event["cat"]] += event["dur"]
        else:
            instruction, fields = profile.code[event["args"]["instruction"]]
            assert event["cat"] == instruction.mnemonic
            assert event["name"] == f"{instruction.mnemonic}  {event['args']['layer']}"
            assert all(event["args"][name] == value for name, value in fields.items() if value)
            instructions[thread].add(event["args"]["instruction"])
    for thread in THREADS:
        assert instructions[thread] == set(profile.slices[thread].pcs.tolist())
        for cause, cycles in profile.stats.engines[thread].items():
            assert cause == "busy" or stalls[thread, cause] == cycles, (thread, cause)


class Page(HTMLParser):
    """Collects what a page refers to, its text, and whether tags are closed in order."""

    EMPTY = {"meta", "br", "rect", "path", "line", "circle", "polyline"}

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.words, self.tags = [], [], [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_nothing_else_and_shows_every_layer(profile):
    text = report_page("small <&> program.weft", [profile, profile])
    page = Page(text)
    assert not page.open and not page.tags & {"script", "link", "img", "iframe", "object"}
    assert page.references == ["#run0", "#run1"]
    assert not re.search(r"https?:|url\(|@import", text)
    words = "\n".join(page.words)
    assert "small <&> program.weft" in words
    for layer in profile.layers:
        assert words.count(layer.name) >= 2 and f"{layer.cycles:,}" in words
    assert f"{profile.stats.cycles:,}" in words
    assert text.count("<svg") == 4 and text.count("</svg>") == 4


def test_names():
    assert alike("encoder.layer.11.output.dense2") == "encoder.layer.*.output.dense2"
    assert alike("3") == "*"
    assert short_names(["vit.embed", "vit.layers.0.fc1", "head"]) == ["embed", "layers.0.fc1", "head"]
    assert short_names(["a.b", "(program)"]) == ["a.b", "(program)"]


def test_sums_of_figures(profile):
    cycles = profile.stats.cycles
    edges = np.linspace(0, cycles, 38)
    for thread in THREADS:
        shares = activity(profile.states[thread], edges)
        np.testing.assert_allclose(shares.sum(0), 1)
        assert (shares[1] * np.diff(edges)).sum() == pytest.approx(profile.stats.engines[thread]["busy"])
    np.testing.assert_allclose(work_activity(profile.blame, edges).sum(0), 1)
    beats = bus_activity(profile.recording, edges)
    assert (beats[1] * np.diff(edges)).sum() == pytest.approx(profile.recording.write_beats.sum())
    assert sum(group.cycles for group in groups(profile.layers)) == cycles
    stalled = sum(count for engine in profile.stats.engines.values() for cause, count in engine.items() if cause != "busy")
    assert sum(wait.cycles for wait in longest_waits(profile)) == stalled


# The command, on the simulation that the other tests use.

def command(*arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.fixture
def quick(monkeypatch, rtl):
    monkeypatch.setattr("weft.profile.machine", lambda config: rtl)


def test_a_text_model_and_random_inputs(quick, text_model_folder, tmp_path, capsys):
    file = tmp_path / "bert.weft"
    assert command("compile", "--model", text_model_folder(), "--seq", "7", "--config", "tiny", "--out", file,
                   capsys=capsys)[0] == 0
    for options in (["--text", "the boat"], []):
        status, out, err = command("profile", file, *options, "--out", tmp_path / "out", capsys=capsys)
        assert status == 0, err
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "trace.json"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(source in page for source in weft.load(file).image.sources)
    assert {"bert.weft", "tiny"} <= set(re.findall(r"[\w.]+", page))
    json.loads((tmp_path / "out" / "trace.json").read_text())
    status, _, err = command("profile", file, "--prompt", "the", "--out", tmp_path / "other", capsys=capsys)
    assert status == 2 and "is no decoder" in err and not (tmp_path / "other").exists()


def test_a_decoder_shows_two_runs(quick, text_model_folder, tmp_path, capsys):
    file = tmp_path / "gpt.weft"
    assert command("compile", "--model", text_model_folder("gpt2"), "--decoder", "--max-length", "24", "--config", "tiny",
                   "--out", file, capsys=capsys)[0] == 0
    status, _, err = command("profile", file, "--out", tmp_path / "out", capsys=capsys)
    assert status == 0, err
    page = (tmp_path / "out" / "report.html").read_text()
    assert "prefill, 8 tokens at position 4" in page and "decode, 1 token at position 12" in page
    events = json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {1, 2}
    rows = {(event["pid"], event["tid"]) for event in events if "tid" in event}
    assert len({row for _, row in rows}) == len(rows) == 12 and min(rows)[1] > 0
    # Of the versions of the code, what ran is shown, and nothing else: the branch skips instructions.
    shown = {event["args"]["instruction"] for event in events if event["pid"] == 2 and event.get("cat") == "dispatch"}
    assert len(shown) < weft.load(file).steps["decode"].image.instructions
    status, _, err = command("profile", file, "--prompt", "a " * 30, "--out", tmp_path / "out", capsys=capsys)
    assert status == 2 and "must have 1 to 23" in err


def test_nothing_is_written_for_a_damaged_file(quick, tmp_path, capsys):
    program, _, _ = workloads.gemm(5, 8, 8, weft.Config.named("tiny"))
    file = tmp_path / "gemm.weft"
    program.save(file)
    data = bytearray(file.read_bytes())
    data[-100] ^= 4
    file.write_bytes(data)
    status, out, err = command("profile", file, "--out", tmp_path / "out", capsys=capsys)
    assert status == 2 and out == "" and err.count("\n") == 1 and "was altered" in err
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_when_the_page_fails(profile, tmp_path, monkeypatch):
    from weft.profile import write

    def fails(name, profiles):
        raise RuntimeError("no page")

    monkeypatch.setattr(write, "report_page", fails)
    with pytest.raises(RuntimeError, match="no page"):
        write.write_profile(tmp_path, "x", [profile])
    assert list(tmp_path.iterdir()) == []


def test_random_inputs_fit_their_program():
    program, _, _ = workloads.attention(2, 9, 8, weft.Config.named("tiny"))
    args, kwargs = random_inputs(program, seed=3)
    assert [a.shape for a in args] == [(9, 16)] * 3 and kwargs == {}
    assert 20 < np.std(args[0]) < 60      # of int8
    assert np.isfinite(program.run(args, kwargs).outputs[0]).all()
