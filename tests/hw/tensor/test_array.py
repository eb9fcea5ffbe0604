"""The systolic array alone."""

import pytest

from weft.hw.tensor.array import SystolicArray
from weft.hw.verilog import convert
from weft.sim.cocotb_runner import run_benches


@pytest.mark.parametrize(("rows", "cols"), [(5, 7), (8, 4)])
def test_array_against_numpy(rows, cols):
    text = convert(SystolicArray(rows, cols), "systolic_array")
    passed = run_benches({"array.v": text}, "systolic_array", "weft.sim.cocotb.bench_array",
                         env={"ROWS": str(rows), "COLS": str(cols)})
    assert len(passed) == 2
