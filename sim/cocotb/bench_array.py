"""The systolic array against NumPy: random tiles, directions, gaps and numbers of rows."""

import os
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw.tensor.sparse_pe import lanes_of
from weft.sim.cocotb.packing import pack, unpack

ROWS, COLS = int(os.environ.get("ROWS", 4)), int(os.environ.get("COLS", 4))
#: Activations of each pair of rows; 0: the array is dense, one for each row.
LANES = int(os.environ.get("LANES", 0))
SUM_BITS = 17 + (ROWS - 1).bit_length()
LATENCY = ROWS // (2 if LANES else 1) + COLS + 1


class Operands:
    """Activations of one cycle as the array takes them, and its sums; a dense array's weights all have place 0."""

    def __init__(self, generator, largest=False):
        self.values = generator.integers(-128, 256, (ROWS // 2, LANES) if LANES else ROWS)
        if largest:
            self.values[:] = 255
        # A value that is not live counts as zero.
        self.live = generator.random(self.values.shape) < 0.8

    def packed(self):
        values = self.values.reshape(-1)
        return pack((values & 511) | self.live.reshape(-1) << 9, 10) if LANES else pack(values, 9)

    def sums(self, tile, places):
        if not LANES:
            return self.values @ tile
        live = self.values * self.live
        chosen = np.array([[live[r // 2][lanes_of(r % 2, LANES)[place]] for place in row] for r, row in enumerate(places)])
        return (chosen * tile).sum(0)


class Schedule:
    """Inputs of each cycle, and the sums that have to come: tiles as close as the array allows, or with gaps."""

    def __init__(self, random, tiles, gaps):
        self.inputs, self.expected, self.swaps = {}, {}, []
        generator = np.random.default_rng(random.randrange(1 << 30))
        swap, last_row = 0, 0
        for _ in range(tiles):
            left, halves = random.random() < 0.4, random.random() < 0.5
            half = -(-ROWS // 2)
            tile = generator.integers(-128, 128, (ROWS, COLS)) * (generator.random((ROWS, COLS)) < 0.9)
            places = generator.integers(0, 4, (ROWS, COLS)) * (LANES > 0 and not left)
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
                    self.at(cycle)["load_row_places"] = pack(places[where], 2)
                if halves and ROWS - 1 - step >= half:
                    self.at(cycle)["load_lower"] = pack(tile[ROWS - 1 - step], 8)
                    self.at(cycle)["load_lower_places"] = pack(places[ROWS - 1 - step], 2)
                cycle += 1
            swap = max(cycle, last_row) + random.choice(gaps)
            self.at(swap)["swap"] = 1
            self.swaps.append(swap)
            for _ in range(random.choice((1, 1, 2, ROWS, 2 * ROWS + 1))):
                last_row = max(last_row, swap) + 1 + random.choice(gaps)
                operands = Operands(generator, largest=random.random() < 0.1)
                self.at(last_row)["operands"] = operands.packed()
                self.expected[last_row + LATENCY] = operands.sums(tile, places)
        self.cycles = last_row + LATENCY + 1

    def at(self, cycle):
        return self.inputs.setdefault(cycle, {})


async def play(dut, schedule):
    """Drives the schedule; returns the number of compared sums."""
    generator = np.random.default_rng(1)
    names = ("load_valid", "load_left", "load_halves", "load_step", "load_row", "load_lower", "load_column", "swap",
             "operands", *(("load_row_places", "load_lower_places") if LANES else ()))
    handles = {name: getattr(dut, name) for name in names}
    idle = {"load_valid": 0, "swap": 0}
    compared = 0
    for cycle in range(schedule.cycles):
        # What is not used in a cycle is noise.
        noise = {"operands": Operands(generator).packed(),
                 "load_row": pack(generator.integers(-128, 128, COLS), 8),
                 "load_lower": pack(generator.integers(-128, 128, COLS), 8),
                 "load_column": pack(generator.integers(-128, 128, ROWS), 8)}
        for name, value in {**idle, **noise, **schedule.inputs.get(cycle, {})}.items():
            if name in handles:
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
