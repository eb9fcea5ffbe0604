"""The systolic array against NumPy: random tiles, directions, gaps and numbers of rows."""

import os
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from weft.sim.cocotb.packing import pack, unpack

ROWS, COLS = int(os.environ.get("ROWS", 4)), int(os.environ.get("COLS", 4))
SUM_BITS = 17 + (ROWS - 1).bit_length()
LATENCY = ROWS + COLS + 1


class Schedule:
    """Inputs of each cycle, and the sums that have to come: tiles as close as the array allows, or with gaps."""

    def __init__(self, random, tiles, gaps):
        self.inputs, self.expected, self.swaps = {}, {}, []
        generator = np.random.default_rng(random.randrange(1 << 30))
        swap, last_row = 0, 0
        for _ in range(tiles):
            left, halves = random.random() < 0.4, random.random() < 0.5
            half = -(-ROWS // 2)
            tile = generator.integers(-128, 128, (ROWS, COLS))
            if random.random() < 0.1:
                tile[:] = -128
            cycle = swap
            halves &= not left
            steps = COLS if left else half if halves else ROWS
            for step in range(steps):
                cycle += random.choice(gaps)
                where = steps - 1 - step
                self.at(cycle).update(load_valid=1, load_left=int(left), load_halves=int(halves), load_step=step)
                if left:
                    self.at(cycle)["load_column"] = pack(tile[:, where], 8)
                else:
                    self.at(cycle)["load_row"] = pack(tile[where], 8)
                if halves and ROWS - 1 - step >= half:
                    self.at(cycle)["load_lower"] = pack(tile[ROWS - 1 - step], 8)
                cycle += 1
            swap = max(cycle, last_row) + random.choice(gaps)
            self.at(swap)["swap"] = 1
            self.swaps.append(swap)
            for _ in range(random.choice((1, 1, 2, ROWS, 2 * ROWS + 1))):
                last_row = max(last_row, swap) + 1 + random.choice(gaps)
                operands = generator.integers(-128, 256, ROWS)
                if random.random() < 0.1:
                    operands[:] = 255
                self.at(last_row)["operands"] = pack(operands, 9)
                self.expected[last_row + LATENCY] = operands @ tile
        self.cycles = last_row + LATENCY + 1

    def at(self, cycle):
        return self.inputs.setdefault(cycle, {})


async def play(dut, schedule):
    """Drives the schedule; returns the number of compared sums."""
    generator = np.random.default_rng(1)
    names = ("load_valid", "load_left", "load_halves", "load_step", "load_row", "load_lower", "load_column", "swap",
             "operands")
    handles = {name: getattr(dut, name) for name in names}
    idle = {"load_valid": 0, "swap": 0}
    compared = 0
    for cycle in range(schedule.cycles):
        # What is not used in a cycle is noise.
        noise = {"operands": pack(generator.integers(-128, 256, ROWS), 9),
                 "load_row": pack(generator.integers(-128, 128, COLS), 8),
                 "load_lower": pack(generator.integers(-128, 128, COLS), 8),
                 "load_column": pack(generator.integers(-128, 128, ROWS), 8)}
        for name, value in {**idle, **noise, **schedule.inputs.get(cycle, {})}.items():
            handles[name].value = value
        await FallingEdge(dut.clk)
        if cycle in schedule.expected:
            sums = unpack(dut.sums.value.to_unsigned(), SUM_BITS, COLS)
            assert np.array_equal(sums, schedule.expected[cycle]), f"cycle {cycle}: {sums} {schedule.expected[cycle]}"
            compared += 1
        await RisingEdge(dut.clk)
    return compared


async def start(dut):
    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 1
    dut.load_valid.value = 0
    dut.swap.value = 0
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test()
async def tiles_back_to_back(dut):
    """Every tile follows the last as early as the contract allows, directions mixed."""
    await start(dut)
    schedule = Schedule(Random(cocotb.RANDOM_SEED), 60, gaps=(0,))
    assert min(np.diff(schedule.swaps)) == min(-(-ROWS // 2), COLS)
    assert await play(dut, schedule) == len(schedule.expected) > 60


@cocotb.test()
async def tiles_with_gaps(dut):
    """Gaps between steps, rows and tiles."""
    await start(dut)
    schedule = Schedule(Random(cocotb.RANDOM_SEED + 1), 60, gaps=(0, 0, 0, 1, 2, 5))
    assert await play(dut, schedule) == len(schedule.expected)
