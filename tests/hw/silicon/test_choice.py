"""The choice among memory banks of an ECP5's cells is the one of the accelerator, by proof."""

import re

import pytest

from weft.hw.errors import RunError
from weft.hw.memory.choice import BankChoice
from weft.hw.silicon.choice import choice_verilog
from weft.hw.verilog import convert

_SCRIPT = """read_verilog source.v
    proc
    rename bank_choice gold
    read_verilog choice.v
    read_verilog -overwrite +/ecp5/cells_sim.v
    hierarchy
    proc
    flatten bank_choice
    rename bank_choice gate
    miter -equiv -flatten -make_assert gold gate miter
    sat -verify -prove-asserts -show-ports miter"""


@pytest.mark.parametrize("banks", [4, 8])
def test_choice_of_cells(yosys, tmp_path, banks):
    text = convert(BankChoice(5, banks), "bank_choice")
    cells = choice_verilog(text)
    assert len(re.findall(r"\bLUT4\b", cells)) == 1 and "PFUMX" in cells
    (tmp_path / "source.v").write_text(text)

    def prove(verilog):
        (tmp_path / "choice.v").write_text(verilog)
        yosys(tmp_path, "; ".join(map(str.strip, _SCRIPT.splitlines())))

    prove(cells)
    with pytest.raises(RunError, match="proof did fail"):
        prove(cells.replace(".C0(bank[1])", ".C0(bank[0])"))


@pytest.mark.parametrize("banks", [1, 2, 16])
def test_others_stay(banks):
    assert choice_verilog(convert(BankChoice(5, banks), "bank_choice")) == ""
