"""The vector engine, driven by instructions, against NumPy: memories that grant at random, operands and tokens that
appear at random and vanish once they are given back."""

import json
import os
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw import isa
from weft.hw.config import Config
from weft.hw.interfaces import READ_LATENCY
from weft.hw.isa import Element
from weft.sim.cocotb.vector_program import SCRATCHPAD, VectorProgram

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
KINDS = ["requant", "table", "requant", "softmax", "requant", "norm", "sync", "requant"]


class ReadPort:
    """A read port of the engine on a memory: uint8[places, bytes], indexed by the requested line or word.

    Requests are granted with a probability, and stay until they are; data comes for one cycle, noise in all others.
    """

    def __init__(self, dut, name, place, memory, random):
        self.valid, self.ready, self.place, self.data = (
            getattr(dut, f"{name}_{port}") for port in ("valid", "ready", place, "data"))
        self.memory, self.random = memory, random
        self.coming = [None] * READ_LATENCY
        self.waiting = None

    def drive(self, rate):
        self.granting = self.random.random() < rate
        self.ready.value = int(self.granting)
        data = self.coming.pop(0)
        self.data.value = self.random.getrandbits(8 * self.memory.shape[1]) if data is None else data

    def sample(self):
        asked = int(self.place.value) if self.valid.value == 1 else None
        assert self.waiting is None or asked == self.waiting, f"a request for {self.waiting} became {asked}"
        self.waiting = None if self.granting else asked
        accepted = self.granting and asked is not None
        self.coming.append(int.from_bytes(self.memory[asked].tobytes(), "little") if accepted else None)


class Bench:
    """Runs a `VectorProgram`: memories, tokens and instructions of the engine."""

    def __init__(self, dut, program, random):
        self.dut, self.program, self.random = dut, program, random
        self.scratchpad, self.accumulators = program.start()
        lines = self.scratchpad.reshape(-1, CONFIG.line_bytes)
        self.ports = [ReadPort(dut, "read_a", "line", lines, random), ReadPort(dut, "read_b", "line", lines, random),
                      ReadPort(dut, "accumulators", "address", self.accumulators.view(np.uint8), random)]
        self.lines = lines
        self.hides = list(program.hides)
        self.cycles = 0

    def _copy(self, memory, start, count, noise):
        """Words get the program's contents, or noise."""
        to, image = ((self.scratchpad, self.program.scratchpad) if memory == SCRATCHPAD
                     else (self.accumulators.view(np.uint8), self.program.accumulators.view(np.uint8)))
        part = to[start:start + count]
        part[:] = self.program.random.integers(0, 256, part.shape, np.uint8) if noise else image[start:start + count]

    def _signalled(self, token):
        """The first range still held under this token is given back."""
        for number, (hidden, memory, start, count) in enumerate(self.hides):
            if hidden == token:
                del self.hides[number]
                self._copy(memory, start, count, noise=True)
                return

    async def run(self, rate, most=200_000):
        """Runs to the end with reads granted at a ``rate``, and compares; `cycles` says how long it took."""
        dut, random = self.dut, self.random
        dut.instructions_valid.value, dut.give.value, dut.write_ready.value, dut.rst.value = 0, 0, 1, 1
        for _ in range(2):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        code = [(number, isa.encode(mnemonic, **fields))
                for number, (mnemonic, fields) in enumerate(self.program.instructions)]
        reveals = list(self.program.reveals)
        offered = False
        while True:
            offered = bool(code) and (offered or rate == 1 or random.random() < 0.5)
            dut.instructions_valid.value = int(offered)
            if offered:
                number, word = code[0]
                dut.instructions_payload.value = number << isa.INSTRUCTION_BITS | word
            giving = bool(reveals) and (rate == 1 or random.random() < 0.1)
            dut.give.value = int(giving)
            if giving:
                token, memory, start, count = reveals.pop(0)
                dut.give_id.value = token
                self._copy(memory, start, count, noise=False)
            for port in self.ports:
                port.drive(rate)
            await FallingEdge(dut.clk)
            for port in self.ports:
                port.sample()
            if dut.write_valid.value == 1:
                mask = np.frombuffer(int(dut.write_mask.value).to_bytes(-(-CONFIG.line_bytes // 8), "little"), np.uint8)
                data = np.frombuffer(int(dut.write_data.value).to_bytes(CONFIG.line_bytes, "little"), np.uint8)
                counts = np.unpackbits(mask, bitorder="little")[:CONFIG.line_bytes] == 1
                self.lines[int(dut.write_line.value), counts] = data[counts]
            for valid, token in ((dut.src_signal_valid, dut.src_signal_id), (dut.dst_signal_valid, dut.dst_signal_id)):
                if valid.value == 1:
                    self._signalled(int(token.value))
            idle = dut.status_idle.value == 1
            if offered and dut.instructions_ready.value == 1:
                del code[0]
                offered = idle = False
            await RisingEdge(dut.clk)
            self.cycles += 1
            if idle and not code and not reveals:
                break
            assert self.cycles < most, (
                f"not done after {most} cycles: instruction {int(dut.status_pc.value)}, state "
                f"{int(dut.status_state.value)}, counter {int(dut.status_semaphore.value)}")
        dut.instructions_valid.value = dut.give.value = 0
        self.program.check(self.scratchpad, await self._distances(), await self._tokens())

    async def _distances(self):
        distances = []
        for row in range(CONFIG.state_rows):
            self.dut.rescale_row.value = row
            await RisingEdge(self.dut.clk)
            await FallingEdge(self.dut.clk)
            distances.append(int(self.dut.rescale_distance.value))
        return np.array(distances)

    async def _tokens(self):
        await FallingEdge(self.dut.clk)
        assert not int(self.dut.broken.value), f"waits for tokens (sources, results): {self.dut.broken.value}"
        counts = self.dut.counts.value.to_unsigned()
        return np.array([counts >> 8 * n & 255 for n in range(isa.SEMAPHORES)])


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(rate=[1.0, 0.7, 0.3])
async def random_instructions(dut, rate):
    """Instructions of every kind in random order: REQUANT, STATS, NORM, SOFTMAX, TABLE and VECTOR_SYNC."""
    Clock(dut.clk, 2, unit="ns").start()
    random = Random(cocotb.RANDOM_SEED)
    seen = set()
    for _ in range(5):
        program = VectorProgram(CONFIG, random.randrange(1 << 30))
        for kind in random.sample(KINDS, len(KINDS)):
            # The memories may have no room for another one.
            if program.add_random(kind):
                seen.add(kind)
        await Bench(dut, program, random).run(rate)
    assert seen == set(KINDS), f"nothing but {seen} fitted"


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def full_rate(dut):
    """One group in each cycle (of softmax as many cycles as its exponentials take), apart from filling and emptying the
    pipeline, where every read is granted."""
    Clock(dut.clk, 2, unit="ns").start()
    random = Random(cocotb.RANDOM_SEED)
    tiles, groups = CONFIG.tiles_per_panel, CONFIG.groups_per_tile
    rows = min(32, CONFIG.accumulator_words // tiles, CONFIG.state_rows, CONFIG.scratchpad_words // 4)
    requant = dict(rows=rows, tiles=tiles, src_type=Element.ACC, src_row_stride=1, src_panel_stride=rows,
                   dst_type=Element.INT8, dst_row_stride=1, param_hold=int(groups == 1))
    softmax = dict(rows=rows, tiles=tiles, acc_stride=rows, key_limit=1000, first=1)
    for mnemonic, fields, pace in (("REQUANT", requant, 1),
                                   ("SOFTMAX", softmax, CONFIG.vector_lanes // CONFIG.softmax_lanes)):
        program = VectorProgram(CONFIG, random.randrange(1 << 30))
        params = program.random_records(groups * tiles, 20, 8)
        program.add(mnemonic, **fields, param_base=params, dst_base=program.alloc(rows))
        bench = Bench(dut, program, random)
        await bench.run(1.0)
        assert bench.cycles < pace * rows * tiles * groups + 75, f"{mnemonic}: {bench.cycles} cycles"
