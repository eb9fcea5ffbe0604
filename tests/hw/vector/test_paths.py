"""What long paths of the vector engine must not contain."""

import pytest

from weft.hw import verilog
from weft.hw.config import Config
from weft.hw.errors import RunError
from weft.hw.memory import wrapper
from weft.hw.vector.issue import Issue
from weft.hw.vector.requantize import Requantizer
from weft.hw.vector.tables import Tables

#: What selects all that a port depends on within a cycle, back to registers.
CONE = "o:{port} %ci*:-$dff,$dffe,$sdff,$sdffe,$sdffce"
PREPARE = "read_verilog source.v\nblackbox weft_memory\nhierarchy -top {top}\nproc\nflatten\nopt_clean\n"


@pytest.fixture
def depends(yosys, tmp_path):
    """``depends(component, port, cells)``: whether an output depends on such cells (``t:`` types), or other ports (``i:``)."""
    def depends(component, port, wanted):
        (tmp_path / "source.v").write_text(verilog.convert(component, "part") + wrapper.VERILOG)
        try:
            yosys(tmp_path, f"{PREPARE.format(top='part')}select -assert-none {CONE.format(port=port)} {wanted} %i")
        except RunError as error:
            assert "Assertion failed" in str(error)
            return True
        return False
    return depends


def test_tables_take_a_cycle(depends):
    """A table's entry takes most of a cycle of an FPGA; the scratchpad takes another, and the maximum of the scores."""
    config = Config.named("tiny")
    assert depends(Tables(config.vector_lanes), "values", "t:weft_memory")
    for port in "results", "scores":
        assert not depends(Requantizer(config), port, "t:weft_memory")


def test_reads_do_not_wait_for_arithmetic(depends):
    """Which group, row and tile is the first or last is counted ahead, so that requests begin at registers."""
    issue = Issue(Config.named("tiny"))
    arithmetic = "t:$add t:$sub t:$lt t:$alu %u %u %u"
    assert depends(issue, "item", arithmetic)
    assert not depends(issue, "source_read__valid", arithmetic)
    assert not depends(issue, "source_read__valid", "i:job")
