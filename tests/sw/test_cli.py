"""The command line: what it imports, how it refuses, what it prints."""

import json
import subprocess
import sys

import pytest

import weft
from weft.cli import main


def weft_command(*arguments, capsys):
    """(exit status, stdout, stderr) of the command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def imported_by(code):
    """Names of the modules that a fresh interpreter has loaded after `code`."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
                          capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_lazy():
    assert imported_by("import weft").isdisjoint({"torch", "numpy", "amaranth", "click"})


def test_the_command_line_loads_no_heavy_package_before_a_command_runs():
    assert imported_by("import weft.cli").isdisjoint({"torch", "numpy", "amaranth", "transformers"})


def test_generate_never_imports_torch(tmp_path):
    modules = imported_by(
        "import weft.cli\n"
        "try: weft.cli.main(['generate', '--config', 'tiny', '--out', %r])\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n" % str(tmp_path))
    assert "amaranth" in modules
    assert modules.isdisjoint({"torch", "transformers"})
    assert {path.name for path in tmp_path.iterdir()} >= {"weft.v", "weft.json"}
    json.loads((tmp_path / "weft.json").read_text())


def test_every_public_name_resolves():
    for name in weft.__all__:
        assert getattr(weft, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        weft.nonsense
    assert set(weft.__all__) <= set(dir(weft))


def test_info_prints_parameters_and_derived_values(capsys):
    status, out, _ = weft_command("info", "--config", "base", "--json", capsys=capsys)
    assert status == 0
    values = json.loads(out)
    assert values["parameters"]["rows"] == 16
    assert values["derived"]["macs_per_cycle"] == 256
    status, out, _ = weft_command("info", "--config", "base", capsys=capsys)
    assert status == 0 and "scratchpad_kib" in out


def test_a_configuration_file_stands_for_a_name(tmp_path, capsys):
    (tmp_path / "odd.toml").write_text("rows = 8\ncols = 12\n")
    (tmp_path / "odd.json").write_text('{"rows": 8, "cols": 12}')
    for name in ("odd.toml", "odd.json"):
        status, out, _ = weft_command("info", "--config", tmp_path / name, "--json", capsys=capsys)
        assert status == 0 and json.loads(out)["parameters"]["cols"] == 12


@pytest.mark.parametrize("text, words", [
    ("rows = 8\n", ["cols"]),
    ("rows = 8\ncols = 3\n", ["cols", "3"]),
    ("rows = 8\ncols = 8\nspeed = 11\n", ["speed"]),
    ("rows = [\n", ["bad.toml"]),
])
def test_a_wrong_configuration_is_one_sentence_and_status_2(tmp_path, capsys, text, words):
    (tmp_path / "bad.toml").write_text(text)
    status, out, err = weft_command("generate", "--config", tmp_path / "bad.toml", "--out", tmp_path / "o",
                                    capsys=capsys)
    assert status == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err
    assert all(word in err for word in words)


@pytest.mark.parametrize("arguments, words", [
    (["info", "--config", "huge"], ["huge", "tiny"]),
    (["info", "--config", "no/such.toml"], ["no/such.toml"]),
    (["run", "no.weft", "--text", "a"], ["no.weft"]),
    (["verify", "no.weft", "--text", "a"], ["no.weft"]),
    (["disassemble", "no.weft"], ["no.weft"]),
    (["export", "no.weft", "--out", "out"], ["no.weft"]),
    (["compile", "--model", "nowhere", "--seq", "8", "--out", "x.weft"], ["nowhere"]),
    (["compile", "--model", "nowhere", "--seq", "0", "--out", "x.weft"], ["--seq"]),
    (["regress", "--config", "tiny", "--verilog", "nowhere"], ["nowhere"]),
    (["bench", "gemm", "--m", "0", "--k", "1", "--n", "1"], ["--m"]),
    (["bench", "model", "nowhere", "--seq", "8"], ["nowhere"]),
    (["generate", "--out", "file/inside"], ["file/inside"]),
    (["generate", "--out", "file"], ["file"]),
    (["generate", "--config", "tiny", "--out", "taken"], ["taken"]),
    (["generate", "--config", "tiny", "--out", "new/deep", "--flow", "ise"], ["flow", "'ise'"]),
    (["generate", "--config", "tiny", "--out", "new", "--flow", "vivado", "--clock-mhz", "nan"], ["clock", "nan"]),
    (["build", "--config", "tiny", "--out", "new", "--board", "nowhere"], ["'nowhere'", "ulx3s-85f"]),
    (["build", "--config", "tiny", "--out", "new", "--board", "arty-a7-35", "--seed", "-1"], ["--seed", "-1"]),
    (["disassemble", "taken"], ["taken is a folder"]),
    (["disassemble", 300 * "x"], [300 * "x", "name too long"]),
    (["compile", "--model", "file", "--seq", "8", "--out", "new/x.weft"], ["model folder file is no folder"]),
    (["compile", "--model", "listed", "--seq", "8", "--out", "new/x.weft"], ["model folder listed: config.json holds no object"]),
    (["bench", "gemm", "--m", "99999999999", "--k", "1", "--n", "1"], ["--m", "99999999999"]),
    (["bench", "gemm", "--m", "1", "--k", "8", "--n", "8", "--zero-tiles", "nan"], ["--zero-tiles", "nan"]),
    (["bench", "attention", "--heads", "4096", "--seq", "1048576", "--dim", "1048576"], ["not enough memory"]),
    (["compile", "--model", "nowhere", "--seq", "8", "--out", "/proc/x.weft"], ["/proc/x.weft"]),
    (["compile", "--model", "nowhere", "--seq", "8", "--out", "taken"], ["taken", "folder"]),
    (["compile"], ["weft compile", "--model"]),
    (["regress", "--config", "tiny", "--select", "("], ["'('", "regular expression"]),
    (["weave"], ["weave"]),
])
def test_bad_input_exits_with_status_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken" / "weft.v").mkdir(parents=True)
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "config.json").write_text("[]")
    status, out, err = weft_command(*arguments, capsys=capsys)
    assert status == 2 and out == ""
    said = [line for line in err.splitlines() if not line.endswith(" ...")]     # what was begun
    assert len(said) == 1 and "Traceback" not in err
    assert all(word in said[0] for word in words)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "file", "listed", "taken", "weft.v"]


def test_a_bench_says_what_a_named_configuration_got(monkeypatch, capsys):
    monkeypatch.setattr("weft.bench.bench_gemm", lambda *sizes, config, **_: {"config": f"{config.name} four_bit"})
    status, out, err = weft_command("bench", "gemm", "--m", "1", "--k", "8", "--n", "8", "--weights", "w4g32", "--json",
                                    capsys=capsys)
    assert status == 0 and json.loads(out) == {"config": "base four_bit"}
    assert err.splitlines()[-1] == "measured on base four_bit, which the weights need"


def test_a_damaged_program_file_is_refused(tmp_path, capsys):
    (tmp_path / "a.weft").write_bytes(b"not a program at all")
    status, _, err = weft_command("disassemble", tmp_path / "a.weft", capsys=capsys)
    assert status == 2 and "a.weft" in err and len(err.strip().splitlines()) == 1
