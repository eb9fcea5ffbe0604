"""The systolic array alone."""

import pytest
from amaranth.back import verilog

from weft.hw.tensor.array import SystolicArray
from weft.sim.cocotb_runner import run_benches


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (5, 7), (8, 4), (4, 9)])
def test_array_against_numpy(rows, cols):
    text = verilog.convert(SystolicArray(rows, cols), name="systolic_array", emit_src=False, strip_internal_attrs=True)
    passed = run_benches({"array.v": text}, "systolic_array", "weft.sim.cocotb.bench_array",
                         env={"ROWS": str(rows), "COLS": str(cols)})
    assert len(passed) == 2
