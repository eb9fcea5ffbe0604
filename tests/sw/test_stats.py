"""Statistics as text and as JSON values."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from weft.cli.options import as_json
from weft.stats import stats_dict, stats_lines

STATS = SimpleNamespace(
    cycles=2000, macs=384000, utilization=0.75, roofline_cycles=1600, dram_read_bytes=5120, dram_write_bytes=256,
    skipped_macs=128000, array_macs=400000, gated_macs=50000,
    engines={"load": {"busy": 500, "wait_token": 250}, "tensor": {"busy": 1500, "wait_token": 500}})


def test_lines_give_ratios_and_idle_time():
    lines = stats_lines(STATS)
    text = "\n".join(lines)
    assert "2,000" in text and "1.25 x roofline 1,600" in text and "75.0%" in text and "5,120 bytes read" in text
    assert "384,000   (128,000 more skipped)" in text and "12.5%   of the array's multiplications are by zero" in text
    (load,) = [line.split() for line in lines if line.split()[:1] == ["load"]]
    assert [float(value) for value in load[1:]] == [25.0, 12.5, 62.5]
    (tensor,) = [line.split() for line in lines if line.split()[:1] == ["tensor"]]
    assert [float(value) for value in tensor[1:]] == [75.0, 25.0, 0.0]


def test_a_golden_run_has_no_cycles():
    stats = SimpleNamespace(**{**vars(STATS), "cycles": None, "utilization": None, "engines": {}})
    assert [line.split()[0] for line in stats_lines(stats)] == ["MACs", "gated"]
    stats.gated_macs, stats.skipped_macs = None, 0
    assert [line.split() for line in stats_lines(stats)] == [["MACs", "384,000"]]


def test_json_takes_numpy_values_and_refuses_others():
    values = json.loads(as_json(stats_dict(SimpleNamespace(**{**vars(STATS), "cycles": np.int64(2000)}))))
    assert values["cycles"] == 2000 and values["engines"]["tensor"]["busy"] == 1500
    assert json.loads(as_json({"outputs": [np.ones((1, 2), np.float32)]})) == {"outputs": [[[1.0, 1.0]]]}
    with pytest.raises(TypeError, match="object"):
        as_json({"x": object()})
