"""The systolic array alone."""

import pytest

from weft.hw.tensor.array import SystolicArray
from weft.hw.verilog import convert
from weft.sim.cocotb_runner import run_benches


# Each is a build of its own; the tests of constant channels and of zero tiles run the whole accelerator of 8x4.
@pytest.mark.parametrize(("rows", "cols", "lanes"), [(5, 7, 0), pytest.param(8, 4, 0, marks=pytest.mark.large), (6, 3, 4),
                                                     (4, 4, 8)])
def test_array_against_numpy(rows, cols, lanes):
    text = convert(SystolicArray(rows, cols, lanes), "systolic_array")
    passed = run_benches({"array.v": text}, "systolic_array", "weft.sim.cocotb.bench_array",
                         env={"ROWS": str(rows), "COLS": str(cols), "LANES": str(lanes)})
    assert len(passed) == 2
