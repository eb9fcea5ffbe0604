"""Columns of circulant blocks against NumPy; and a weight loader without the option, which has none."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from weft.hw.config import Config
from weft.hw.tensor.circulant import CirculantColumns
from weft.hw.tensor.loader import WeightLoader
from weft.hw.verilog import convert


@pytest.mark.parametrize("rows, cols, blocks", [(16, 32, (4, 8, 16)), (12, 4, (4,)), (8, 24, (8,))])
def test_every_column(rows, cols, blocks):
    config = Config(rows=rows, cols=cols, circulant=blocks)
    dut, rng = CirculantColumns(config), np.random.default_rng(0)

    async def bench(ctx):
        for block in blocks:
            word = rng.integers(0, 256, rows)
            generators = word.reshape(-1, block)
            ctx.set(dut.word, word.tolist())
            ctx.set(dut.block, block)
            for single, column, less_128 in (0, 0, 0), (0, 1, 1), (1, 0, 0), (1, cols // block - 1, 1), (1, 15, 1):
                ctx.set(dut.single, single)
                ctx.set(dut.column, column)
                ctx.set(dut.less_128, less_128)
                for step in range(cols):
                    ctx.set(dut.step, step)
                    place, i = divmod(cols - 1 - step, block)
                    expected = np.roll(generators[:, ::-1], i + 1, axis=1).reshape(-1).astype(np.uint8)
                    if less_128:
                        expected ^= 128
                    if single and place != column:
                        expected = np.zeros(rows, np.uint8)
                    assert [ctx.get(dut.result[r]) for r in range(rows)] == expected.tolist(), (block, step, single, column)

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


def test_only_with_the_option():
    for blocks in ((), (4,)):
        text = convert(WeightLoader(Config(rows=4, cols=4, circulant=blocks)), "loader")
        assert ("circulant" in text) == bool(blocks)
