"""The first pass of a norm at the ends of its 20 bits, where what the lane rounds only behind stage 6 must not overflow."""

import pytest
from amaranth.sim import Simulator

from weft.hw.vector.lane import RequantizeLane

ENDS = [sign * ((1 << 20) + near) for sign in (1, -1) for near in range(-4, 4)]
ELEMENTS = [*ENDS, 0, 1, -1, 5, -5, 1 << 27, -1 << 27]


@pytest.mark.parametrize("constants", [False, True])
def test_both_passes_of_a_norm_round_and_saturate(constants):
    """First pass: p * 1 >> 1. Second: 4 * xhat + bias >> 1, with a bias that shows every bit of xhat."""
    dut = RequantizeLane(constants)

    async def test(ctx):
        async def steps(count, **values):
            for name, value in values.items():
                ctx.set(getattr(dut.control, name), value)
            for _ in range(count):
                await ctx.tick()

        for element in ELEMENTS:
            first = min(max((element + 1) >> 1, -1 << 19), (1 << 19) - 1)
            ctx.set(dut.source, element)
            ctx.set(dut.record.bias, (7 - 4 * first) % (1 << 32))
            ctx.set(dut.record.shift, 1)
            await steps(12, load_source=1, load_product=1, enter=0xff, subtract=1, row_sum=0, by_row=1, row_mult=1,
                        coarse_by_row=1, row_coarse=0, fine_by_row=1, row_fine=int(constants), load_bias=1, add_bias=0,
                        to_byte=0, again=0)
            await steps(1, again=1)
            await steps(5, again=0, add_bias=1, row_mult=4)
            assert ctx.get(dut.result) == (7 + 1) >> 1, element

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(test)
    simulator.run()
