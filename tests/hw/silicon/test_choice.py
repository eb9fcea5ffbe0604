"""The choice among words by an ECP5's cells is the one of the accelerator, by proof."""

import re

import pytest

from weft.hw.choice import Choice
from weft.hw.errors import RunError
from weft.hw.silicon.choice import choice_verilog
from weft.hw.verilog import convert

_SCRIPT = """read_verilog source.v
    proc
    rename choice gold
    read_verilog choice.v
    read_verilog -overwrite +/ecp5/cells_sim.v
    hierarchy
    proc
    flatten choice
    rename choice gate
    miter -equiv -flatten -make_assert gold gate miter
    sat -verify -prove-asserts -show-ports miter"""


@pytest.mark.parametrize("count", [4, 8, 32])
def test_choice_of_cells(yosys, tmp_path, count):
    text = convert(Choice(5, count), "choice")
    cells = choice_verilog(text)
    # One level of tables, and for 32 a second one.
    assert len(re.findall(r"\bLUT4\b", cells)) == 1 + (count == 32) and "PFUMX" in cells
    (tmp_path / "source.v").write_text(text)

    def prove(verilog):
        (tmp_path / "choice.v").write_text(verilog)
        yosys(tmp_path, "; ".join(map(str.strip, _SCRIPT.splitlines())))

    prove(cells)
    with pytest.raises(RunError, match="proof did fail"):
        prove(cells.replace("16'hCACA", "16'hACAC"))


@pytest.mark.parametrize("count", [1, 2, 16])
def test_others_stay(count):
    assert choice_verilog(convert(Choice(5, count), "choice")) == ""
