"""Sizes: Verilog is written and linted by processes of their own; synthesis is left to `tests/hw/test_verilog.py`."""

import pytest

from weft.bench import sizes
from weft.hw.config import Config
from weft.hw.errors import RunError
from weft.hw.tools import ToolRun


def test_each_step_is_measured(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sizes, "find_tools", lambda *tools: asked.append(tools))
    monkeypatch.setattr(sizes, "run_tool", lambda tool, arguments, folder, log: ToolRun("", 1.5, 7))
    told = []
    result = sizes.measure(Config.named("tiny"), tmp_path, told.append)
    assert asked == [("yosys",)] and told == ["tiny: generate", "tiny: lint", "tiny: synthesis"]
    assert result["synthesis"] == {"seconds": 1.5, "mebibytes": 7}
    assert result["lines"] == (tmp_path / "weft.v").read_text().count("\n") > 1000
    assert all(result[step]["seconds"] > 0 and result[step]["mebibytes"] > 20 for step in ("generate", "lint"))


def test_a_warning_of_lint_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "find_tools", lambda *tools: None)
    monkeypatch.setattr(sizes, "_GENERATE", "open('weft.v', 'w').write('module weft(input a); endmodule\\n')")
    with pytest.raises(RunError, match="lint failed: ERROR: .*UNUSED"):
        sizes.measure(Config.named("tiny"), tmp_path, lambda words: None)
