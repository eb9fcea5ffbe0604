"""Divisions of any number of dividers, at their full pace and with pauses, and reciprocal roots in between."""

from itertools import pairwise

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.hw.config import DIVISION_CYCLES
from weft.hw.vector.row_unit import RowUnit
from weft.sim import numerics

ROWS = 64
EXTREMES = [0, 1, 2, 3, (1 << 32) - 1, 1 << 31, (1 << 31) - 1, (1 << 31) + 1, 1 << 16, (1 << 16) - 1, 32768, 255]
#: Sums of rows, where 0 stands for a row without visible keys.
TOTALS = st.one_of(st.sampled_from(EXTREMES), st.integers(0, 31).map(lambda n: 1 << n), st.integers(0, (1 << 32) - 1),
                   st.integers(0, 31).flatmap(lambda n: st.integers(0, (1 << n) - 1)))


class Driver:
    """A row unit in simulation. ``results``: ``(kind, row, value, cycle)``."""

    def __init__(self, units):
        self.dut = RowUnit(ROWS, units)
        self.results, self.cycle, self.outstanding = [], 0, 0

    def run(self, test):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(test)
        simulator.run()

    async def tick(self, ctx):
        for kind in "norm", "division":
            port = getattr(self.dut, f"{kind}_write")
            if ctx.get(port.enable):
                self.results.append((kind, ctx.get(port.row), ctx.get(port.value), self.cycle))
                self.outstanding -= 1
                assert self.outstanding >= 0, f"a {kind} that was not asked for"
                break
        else:
            # Nothing may start a next instruction while a row is under way.
            assert ctx.get(self.dut.idle) == (self.outstanding == 0), self.cycle
        await ctx.tick()
        self.cycle += 1

    async def load(self, ctx, row):
        ctx.set(self.dut.load, 1)
        ctx.set(self.dut.first_row, row)
        await self.tick(ctx)
        ctx.set(self.dut.load, 0)

    async def divide(self, ctx, totals, pauses, mult, shift):
        """Each as soon as it may be, but for ``pauses``; sums are there in one cycle only."""
        ctx.set(self.dut.mult, mult)
        ctx.set(self.dut.shift, shift)
        waiting, pauses = list(totals), iter(pauses)
        pause = next(pauses)
        while self.outstanding or waiting:
            starts = bool(waiting) and pause == 0 and ctx.get(self.dut.ready)
            pause = next(pauses) if starts else max(0, pause - 1)
            ctx.set(self.dut.divide, starts)
            await self.tick(ctx)
            self.outstanding += starts
            ctx.set(self.dut.row_total, waiting.pop(0) if starts else 0x5a5a5a5a)

    async def root(self, ctx, x, eps):
        for name, value in (("row_sum", int(x.sum())), ("row_squares", int((x * x).sum())), ("features", x.shape[1]),
                            ("eps", eps), ("root", 1)):
            ctx.set(getattr(self.dut, name), value)
        await self.tick(ctx)
        self.outstanding += 1
        ctx.set(self.dut.root, 0)
        while self.outstanding:
            await self.tick(ctx)


def check(results, totals, mult, shift, first):
    for number, ((kind, row, value, _), total) in enumerate(zip(results, totals, strict=True)):
        wanted = tuple(int(v) for v in numerics.softmax_division(total, mult, shift))
        assert (kind, row, value.mult, value.shift + 1) == ("division", first + number, *wanted), total


@pytest.mark.parametrize("units", range(1, DIVISION_CYCLES + 1))
def test_rows_back_to_back_take_turns_on_the_dividers(units):
    random = np.random.default_rng(units)
    totals = [*EXTREMES, *(int(n) for n in random.integers(0, 1 << 32, 24)), *([0] * 10)]
    driver = Driver(units)

    async def test(ctx):
        await driver.load(ctx, 5)
        await driver.divide(ctx, totals, [0] * (len(totals) + 1), 54321, 20)

    driver.run(test)
    check(driver.results, totals, 54321, 20, 5)
    times = [cycle for *_, cycle in driver.results]
    assert all(times[number + units] - times[number] == DIVISION_CYCLES for number in range(len(times) - units))
    assert all(later - before <= DIVISION_CYCLES - units + 1 for before, later in pairwise(times))


@settings(max_examples=12, deadline=None)
@given(units=st.sampled_from([1, 2, 4, 5, DIVISION_CYCLES]), totals=st.lists(TOTALS, min_size=1, max_size=24),
       pauses=st.lists(st.sampled_from([0, 0, 0, 1, 2, 5, 9, 12]), min_size=25, max_size=25),
       mult=st.integers(0, (1 << 17) - 1), shift=st.integers(1, 32), amplitude=st.integers(0, 15), eps=st.integers(0, 1 << 40))
def test_any_sums_with_pauses_and_roots_in_between(units, totals, pauses, mult, shift, amplitude, eps):
    driver = Driver(units)
    x = np.random.default_rng(len(totals)).integers(-1 << amplitude, 1 << amplitude, (1, 384))

    async def test(ctx):
        await driver.load(ctx, 0)
        await driver.divide(ctx, totals, pauses, mult, shift)
        await driver.root(ctx, x, eps)
        await driver.load(ctx, 1)
        await driver.divide(ctx, totals, pauses, mult, shift)

    driver.run(test)
    count = len(totals)
    check(driver.results[:count], totals, mult, shift, 0)
    check(driver.results[count + 1:], totals, mult, shift, 1)
    kind, row, value, _ = driver.results[count]
    wanted = tuple(int(v[0]) for v in numerics.norm_stats(x, 384, eps, False))
    assert (kind, row, value.row_sum, value.root, value.shift + 1) == ("norm", count, *wanted)
