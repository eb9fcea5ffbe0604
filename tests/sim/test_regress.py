"""The regressions of the whole accelerator, and that they fail on a broken one."""

import pytest

from weft.hw.config import Config
from weft.hw.errors import RunError
from weft.sim import regress
from weft.sim.rtl.library import sources_of


def test_whole_accelerator_in_cocotb(tmp_path):
    config = Config.named("tiny")
    (tmp_path / "weft.v").write_text(sources_of(config)["weft.v"])
    passed = regress.run(config, verilog_dir=tmp_path, programs=3, seed=1)
    assert len(passed) == 4
    with pytest.raises(RunError, match="No regression's name matches 'nothing_like_it'"):
        regress.run(config, verilog_dir=tmp_path, select="nothing_like_it")


def test_wrong_configuration_fails(tmp_path):
    (tmp_path / "weft.v").write_text(sources_of(Config.named("tiny"))["weft.v"])
    with pytest.raises(RunError, match="identity_registers"):
        regress.run(Config.named("small"), verilog_dir=tmp_path, select="identity_registers", seed=1)
