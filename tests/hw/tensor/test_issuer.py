"""Rows that come late in passes over sparse tiles."""

from random import Random

import pytest
from amaranth.sim import Simulator

from weft.hw.config import Config
from weft.hw.memory.accumulators import Accumulators
from weft.hw.tensor.issuer import RowIssuer


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_no_word_comes_again_before_it_is_written(rows):
    """Passes over the same accumulators, sparse and dense, with lines that come whenever they like."""
    config, random = Config(rows=4, cols=4, sparsity="1:4"), Random(rows)
    dut = RowIssuer(config)
    issued = []

    async def drive(ctx):
        tile = dut.tiles.payload
        ctx.set(dut.full, 1)
        ctx.set(dut.tiles.valid, 1)
        dense = False
        for name, value in (("rows", rows), ("single", rows == 1), ("accumulate", 1), ("repeats", 1), ("panels", 4), ("format", 3)):
            ctx.set(tile[name], value)
        for cycle in range(600):
            for n in range(4):
                # A dense tile's rows come without a gap: only its panel's reader works.
                ctx.set(getattr(dut, f"lines_{n}").valid, dense or random.random() < 0.7)
            last = ctx.get(dut.tiles.ready)
            if ctx.get(dut.valid):
                issued.append((cycle, ctx.get(dut.destination.address)))
            await ctx.tick()
            if last:
                dense = random.random() < 0.3
                ctx.set(tile.format, 0 if dense else 3)
                ctx.set(tile.panels, 1 if dense else 4)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert len(issued) > 60
    latest = {}
    for cycle, address in issued:
        assert cycle - latest.get(address, -9) >= Accumulators.LATENCY, (cycle, address)
        latest[address] = cycle
