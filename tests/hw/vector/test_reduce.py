"""Trees over any number of lanes, sets of values back to back and with gaps."""

from random import Random

import pytest
from amaranth.sim import Simulator

from weft.hw.vector.reduce import LaneMaximum, LaneSum

WIDTH = 4


def run(dut, sets, drive, read):
    """What ``read`` finds for each of the sets, ``latency`` cycles after ``drive`` has given it; None is a gap of noise."""
    found = []

    async def test(ctx):
        for cycle in range(len(sets) + dut.latency):
            given = sets[cycle] if cycle < len(sets) else None
            ctx.set(dut.valid, given is not None)
            drive(ctx, given)
            if cycle >= dut.latency and sets[cycle - dut.latency] is not None:
                found.append(read(ctx))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(test)
    simulator.run()
    return found


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 7, 8, 13, 16])
def test_trees(lanes):
    random = Random(lanes)

    def draw(low, high):
        return [random.randint(low, high) for _ in range(lanes)]

    def drive_maximum(ctx, given):
        values, counts = given or (draw(0, (1 << WIDTH) - 1), draw(0, 1))
        for lane in range(lanes):
            ctx.set(maximum.values[lane], values[lane])
        ctx.set(maximum.counts, sum(bit << lane for lane, bit in enumerate(counts)))

    def drive_sum(ctx, given):
        for lane, value in enumerate(given or draw(-1 << WIDTH - 1, (1 << WIDTH - 1) - 1)):
            ctx.set(total.values[lane], value)

    maximum, total = LaneMaximum(lanes, WIDTH), LaneSum(lanes, WIDTH)
    sets = [None if random.random() < 0.3 else (draw(0, (1 << WIDTH) - 1), draw(0, random.choice((0, 1, 1, 1))))
            for _ in range(200)]
    found = run(maximum, sets, drive_maximum, lambda ctx: (max(ctx.get(value) for value in maximum.left), ctx.get(maximum.some)))
    assert found == [(max(value * count for value, count in zip(*given)), int(any(given[1]))) for given in sets if given]

    sets = [None if random.random() < 0.3 else draw(-1 << WIDTH - 1, (1 << WIDTH - 1) - 1) for _ in range(200)]
    assert run(total, sets, drive_sum, lambda ctx: ctx.get(total.total)) == [sum(given) for given in sets if given]
