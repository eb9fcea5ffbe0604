"""What drives the tensor engine's harness."""

import json
import os
from random import Random

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw import isa
from weft.hw.config import Config
from weft.hw.interfaces import READ_LATENCY
from weft.sim.cocotb.packing import pack, unpack
from weft.sim.cocotb.tensor_model import TensorModel, random_product

__all__ = ["CONFIG", "WORDS", "HALF", "TensorBench"]

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
#: Scratchpad words that the bench fills and uses: all, or in large memories the first and as many in the second half.
WORDS = min(CONFIG.scratchpad_words, 1 << 14)
HALF = CONFIG.scratchpad_words // 2


class TensorBench:
    """The harness' driver: fills the memories with noise, feeds instructions, reads accumulators and counters."""

    def __init__(self, dut, seed):
        self.dut = dut
        self.random = Random(seed)
        self.generator = np.random.default_rng(seed)
        self.cycle = 0
        self.stall_rate = 0.0
        self.stall_lines = CONFIG.scratchpad_words // 2

    async def start(self):
        dut = self.dut
        Clock(dut.clk, 2, unit="ns").start()
        for name in ("instructions_valid", "write_valid", "stall_valid", "vector_valid", "distance_write", "give"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        await self.step(2)
        dut.rst.value = 0
        scratchpad = self.generator.integers(0, 256, (CONFIG.scratchpad_words, CONFIG.word_bytes), dtype=np.uint8)
        distances = self.generator.integers(0, 33, CONFIG.state_rows)
        for line in sorted({*range(WORDS // 2), *range(HALF // 2, min(2 * HALF, HALF + WORDS) // 2)}):
            await self.write_line(line, scratchpad[2 * line:2 * line + 2])
        dut.distance_write.value = 1
        for row, distance in enumerate(distances):
            dut.distance_row.value, dut.distance.value = row, int(distance)
            await self.step()
        dut.distance_write.value = 0
        self.model = TensorModel(CONFIG, scratchpad, distances)
        # The accumulators hold nothing defined until they are written.
        f = self.product("MATMUL")[1]
        piece = min(64, CONFIG.accumulator_words)
        for base in range(0, CONFIG.accumulator_words, piece):
            f.update(rows=piece, k_tiles=1,
                     k_offset=0, n_tiles=1, a_base=base % 64, acc_base=base, chunk_tiles=1, accumulate=0, rescale=0,
                     ring_start=0, w_format=0, k_missing=0)
            await self.run("MATMUL", **f)
        await self.idle()

    def product(self, mnemonic=None):
        return random_product(CONFIG, self.random, mnemonic, WORDS)

    async def step(self, cycles=1):
        for _ in range(cycles):
            if self.stall_rate:
                self.dut.stall_valid.value = int(self.random.random() < self.stall_rate)
                self.dut.stall_line.value = self.random.randrange(self.stall_lines)
            await RisingEdge(self.dut.clk)
            self.cycle += 1

    async def write_line(self, line, words):
        """Writes uint8[2, word_bytes] to the hardware only."""
        self.dut.write_valid.value, self.dut.write_line.value = 1, line
        self.dut.write_data.value = pack(words.reshape(-1), 8)
        self.dut.write_mask.value = (1 << CONFIG.line_bytes) - 1
        await self.step()
        self.dut.write_valid.value = 0

    async def issue(self, mnemonic, **fields):
        """Hands an instruction to the engine, and none to the model."""
        dut = self.dut
        dut.instructions_valid.value = 1
        dut.instructions_payload.value = isa.encode(mnemonic, **fields)
        while True:
            await FallingEdge(dut.clk)
            ready = int(dut.instructions_ready.value)
            await self.step()
            if ready:
                break
        dut.instructions_valid.value = 0

    async def run(self, mnemonic, **fields):
        await self.issue(mnemonic, **fields)
        self.model.execute(mnemonic, **fields)

    async def idle(self, most=20000):
        for _ in range(most):
            await FallingEdge(self.dut.clk)
            done = int(self.dut.weights_status_idle.value) and int(self.dut.tensor_status_idle.value)
            await self.step()
            if done:
                assert not int(self.dut.broken.value), f"waits for tokens (weights, rows, accumulators): {self.dut.broken.value}"
                return
        raise AssertionError(f"not idle after {most} cycles: loader {int(self.dut.weights_status_state.value)}, "
                             f"streamer {int(self.dut.tensor_status_state.value)}")

    async def duration(self, fields):
        """Runs a MATMUL; cycles from its first row to its last."""
        rows = fields["rows"] * fields["k_tiles"] * fields["n_tiles"]
        before, started = int(self.dut.row_count.value), None
        await self.run("MATMUL", **fields)
        while int(self.dut.row_count.value) - before < rows:
            await FallingEdge(self.dut.clk)
            if started is None and int(self.dut.row_count.value) > before:
                started = self.cycle
            finished = self.cycle
            await self.step()
        return finished - started

    async def accumulators(self):
        """int64[accumulator_words, cols], read through the vector engine's port."""
        dut, words = self.dut, []
        count = CONFIG.accumulator_words
        accepted = []
        dut.vector_valid.value = 1
        address = 0
        while len(words) < count:
            dut.vector_address.value = min(address, count - 1)
            await FallingEdge(dut.clk)
            ready = int(dut.vector_ready.value) and address < count
            if len(accepted) >= READ_LATENCY and accepted[-READ_LATENCY]:
                words.append(unpack(dut.vector_data.value.to_unsigned(), 32, CONFIG.cols))
            accepted.append(ready)
            address += ready
            await self.step()
        dut.vector_valid.value = 0
        return np.array(words)

    async def check(self):
        await self.idle()
        found, expected = await self.accumulators(), self.model.accumulators
        wrong = np.argwhere(found != expected)
        assert not len(wrong), (f"{len(wrong)} accumulators differ, first at {wrong[0]}: "
                                f"{found[tuple(wrong[0])]} instead of {expected[tuple(wrong[0])]}")

    async def give(self, token, count=1):
        for _ in range(count):
            self.dut.give.value, self.dut.give_id.value = 1, token
            await self.step()
        self.dut.give.value = 0

    def counts(self):
        word = self.dut.counts.value.to_unsigned()
        return [word >> 8 * n & 255 for n in range(isa.SEMAPHORES)]
