"""The regressions of a user's configuration, and that they fail on a broken accelerator."""

from pathlib import Path

import pytest

import weft.sim.cocotb
from weft.hw.config import Config
from weft.hw.errors import InputError, RunError
from weft.sim import regress
from weft.sim.rtl.library import sources_of


def test_every_bench_is_run():
    config = Config.named("tiny")
    found = {path.stem for path in Path(weft.sim.cocotb.__file__).parent.glob("bench_*.py")}
    assert {bench for _, _, bench in regress._blocks(config)} | set(regress._WHOLE) == found


def test_whole_accelerator_in_cocotb(tmp_path):
    config = Config.named("tiny")
    (tmp_path / "weft.v").write_text(sources_of(config)["weft.v"])
    passed = regress.run(config, verilog_dir=tmp_path, programs=3, seed=1)
    assert len(passed) == len(set(passed)) == 13
    assert {name.split(".")[0] for name in passed} == {"control", "dma", "programs"}
    with pytest.raises(InputError, match="no regression's name matches 'nothing_like_it'"):
        regress.run(config, verilog_dir=tmp_path, select="nothing_like_it")


@pytest.mark.large
@pytest.mark.parametrize("config", [
    Config.named("tiny"), Config.named("small"), Config(rows=5, cols=7), Config(rows=8, cols=12),
    Config(rows=12, cols=4, vector_lanes=2, four_bit=True), Config(rows=8, cols=4, sparsity="1:4"),
    Config(rows=4, cols=6, scratchpad_kib=8, accumulator_kib=4, data_bytes=4, vector_lanes=1, scratchpad_banks=1,
           accumulator_banks=2, state_rows=16, key_block=6, index_entries=16, queue_depth=2, bursts_in_flight=2,
           address_bits=32),
], ids=lambda c: f"{c.rows}x{c.cols}")
def test_every_block_in_cocotb(config):
    passed = regress.run(config, programs=2)
    assert len(passed) == len(set(passed)) == 45 + config.four_bit + 2 * (config.sparsity is not None)


def test_wrong_configuration_fails(tmp_path):
    (tmp_path / "weft.v").write_text(sources_of(Config.named("tiny"))["weft.v"])
    with pytest.raises(RunError, match="identity_registers"):
        regress.run(Config.named("small"), verilog_dir=tmp_path, select="identity_registers", seed=1)
