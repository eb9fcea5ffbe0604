"""cocotb: random DMA programs on the memory path against a model in NumPy, with an independent AXI model."""

import itertools
import json
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from weft.hw import isa
from weft.hw.config import Config
from weft.hw.control.register_map import BY_NAME, offset

MEMORY_BYTES = 1 << 18
PROGRAM = 0x1000
TABLE = 0x8000
DATA = 0x10000
OUT = 0x28000


def config():
    return Config(**json.loads(os.environ["WEFT_TEST_CONFIG"]))


class Machine:
    """The device, its memory and its registers."""

    def __init__(self, dut, seed, stalls=True):
        self.dut, self.rng = dut, random.Random(seed)
        self.base = 0x40000
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 20)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        if stalls:
            for channel in (self.ram.write_if.aw_channel, self.ram.write_if.w_channel, self.ram.write_if.b_channel,
                            self.ram.read_if.ar_channel, self.ram.read_if.r_channel):
                channel.set_pause_generator(self.pauses())

    def pauses(self):
        while True:
            busy = self.rng.random()
            for _ in range(self.rng.randint(1, 60)):
                yield self.rng.random() < busy * 0.8

    async def reset(self):
        self.dut.rst.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def write(self, name, value):
        await self.lite.write_dword(offset(name), value & 0xFFFFFFFF)

    async def read(self, name):
        return await self.lite.read_dword(offset(name))

    async def status(self, field):
        return await self.read("STATUS") & BY_NAME["STATUS"].mask(field)

    async def start(self, code, registers=()):
        self.ram.write(self.base + PROGRAM, bytes(code))
        await self.write("BASE_LO", self.base)
        await self.write("PROGRAM_LO", PROGRAM)
        for number, value in dict(registers).items():
            await self.write(f"R{number}", value)
        await self.write("CONTROL", BY_NAME["CONTROL"].mask("start") | BY_NAME["CONTROL"].mask("irq_enable"))

    async def finish(self, cycles=200000):
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
            if self.dut.irq.value:
                return
        state = {n: hex(await self.read(n)) for n in ("STATUS", "PC", "LOAD_STATE", "LOAD_PC", "STORE_STATE", "STORE_PC")}
        raise AssertionError(f"the program did not end: {state}")


class Model:
    """Memory and scratchpad as NumPy arrays, and the instructions as loops."""

    def __init__(self, config, memory):
        self.config, self.memory = config, memory
        self.scratchpad = np.zeros(config.scratchpad_words * config.word_bytes, np.uint8)
        self.index = np.zeros(config.index_entries, np.int64)

    def runs(self, f):
        word = self.config.word_bytes
        for o in range(f["outer_count"]):
            slot = (f["ring_start"] + o) % f["ring_slots"] if f["ring_slots"] else o
            for i in range(f["inner_count"]):
                yield (f["dram_addr"] + o * f["outer_dram_stride"] + i * f["inner_dram_stride"],
                       (f["spm_addr"] + slot * f["outer_spm_stride"] + i * f["inner_spm_stride"]) * word,
                       f["run_words"] * word)

    def load(self, f):
        for memory, scratchpad, size in self.runs(f):
            self.scratchpad[scratchpad:scratchpad + size] = self.memory[memory:memory + size]

    def store(self, f):
        for memory, scratchpad, size in self.runs(f):
            self.memory[memory:memory + size] = self.scratchpad[scratchpad:scratchpad + size]

    def index_rows(self, f):
        self.index[:f["count"]] = self.memory[f["dram_addr"]:f["dram_addr"] + 4 * f["count"]].view(np.int32)

    def gather(self, f):
        size = f["run_words"] * self.config.word_bytes
        for i in range(f["count"]):
            memory = f["dram_addr"] + self.index[f["first"] + i] * f["dram_stride"]
            scratchpad = (f["spm_addr"] + i * f["spm_stride"]) * self.config.word_bytes
            self.scratchpad[scratchpad:scratchpad + size] = self.memory[memory:memory + size]


def random_loops(rng, config):
    """Loop fields of a DMA instruction whose runs do not overlap, at most a few KiB."""
    granule = config.dma_words
    run = granule * rng.choice([1, 1, 2, 3, 4, 8, 13])
    inner, outer = rng.choice([1, 1, 2, 3, 5]), rng.choice([1, 1, 2, 3, 6])
    gap = granule * rng.choice([0, 0, 1, 3])
    spm_stride = run + gap
    ring = rng.choice([0, 0, rng.randint(1, outer)])
    return dict(run_words=run, inner_count=inner, outer_count=outer, inner_spm_stride=spm_stride,
                outer_spm_stride=spm_stride * inner + granule * rng.choice([0, 1]), ring_slots=ring,
                ring_start=rng.randrange(ring) if ring else 0)


def memory_fields(rng, config, loops, first):
    """Addresses in memory, distinct for every run."""
    size, granule = loops["run_words"] * config.word_bytes, config.dma_bytes
    inner = size + granule * rng.choice([0, 0, 0, 1, 5])
    outer = inner * loops["inner_count"] + granule * rng.choice([0, 0, 2])
    return dict(dram_addr=first + granule * rng.randrange(64), inner_dram_stride=inner, outer_dram_stride=outer)


def used_scratchpad(f):
    slots = f["ring_slots"] or f["outer_count"]
    return slots * f["outer_spm_stride"] + f["inner_count"] * f["inner_spm_stride"]


def random_program(rng, config, model):
    """Loads and stores ordered by tokens only, between barriers; runs the model along."""
    code, granule = [], config.dma_words
    registers = {n: rng.randrange(-64, 64) * config.dma_bytes for n in range(1, 4)}
    out, table = OUT, TABLE
    for _ in range(rng.randint(2, 4)):
        code.append(("BARRIER", {}))
        place = granule * rng.randrange(8)
        for pair in range(rng.randint(1, 4)):
            semaphore = 1 + rng.randrange(15)      # consumed by the store engine
            each = rng.random() < 0.6
            loops = random_loops(rng, config)
            loops["spm_addr"] = place
            place += (used_scratchpad(loops) + granule) // granule * granule
            if place > config.scratchpad_words // 2:
                break
            style = rng.random()
            if loops["ring_slots"] and loops["ring_slots"] < loops["outer_count"]:
                each = False        # slots are loaded again: the store must not run between
            register = rng.choice([0, 1, 2, 3])
            if style < 0.25:
                count = min(loops["inner_count"] * 2, config.index_entries - 3)
                rows = [rng.randrange(-4, 20) for _ in range(count + 3)]
                stride = (loops["run_words"] + granule * rng.randrange(3)) * config.word_bytes
                at = table
                table += 0x400
                model.memory[at:at + 4 * len(rows)] = np.array(rows, np.int32).view(np.uint8)
                fetch = dict(dram_addr=at, count=len(rows))
                model.index_rows(fetch)
                code.append(("INDEX", fetch))
                gather = dict(dram_addr=DATA + 8 * stride, dram_stride=stride, spm_addr=loops["spm_addr"],
                              spm_stride=loops["inner_spm_stride"], run_words=loops["run_words"], first=3, count=count)
                model.gather(gather)
                code.append(("GATHER", gather | dict(signal=semaphore)))
                loops |= dict(outer_count=1, inner_count=count, ring_slots=0, ring_start=0)
                place += 2 * used_scratchpad(loops)
                each = False
            else:
                load = loops | memory_fields(rng, config, loops, DATA + 0x1000)
                model.load(load)
                code.append(("LOAD", load | dict(dram_addr=load["dram_addr"] - registers.get(register, 0),
                                                 dram_reg=register, signal=semaphore, signal_each=each)))
            if rng.random() < 0.3:      # hand the tokens on through both engines
                count = loops["outer_count"] if each else 1
                other = 16 + rng.randrange(16)     # consumed by the load engine
                code.append(("STORE_SYNC", dict(wait=semaphore, wait_count=count, signal=other, signal_count=count)))
                code.append(("LOAD_SYNC", dict(wait=other, wait_count=count, signal=semaphore, signal_count=count)))
            store = loops | memory_fields(rng, config, loops, out)
            out = store["dram_addr"] + store["outer_dram_stride"] * store["outer_count"] + 4096
            if out > MEMORY_BYTES - 0x4000:
                out = OUT
                code.append(("BARRIER", {}))
            model.store(store)
            code.append(("STORE", store | dict(wait=semaphore, wait_each=each)))
    code.append(("END", {}))
    return code, registers


async def new_machine(dut, seed, stalls=True):
    machine = Machine(dut, seed, stalls)
    await machine.reset()
    memory = np.random.default_rng(seed).integers(0, 256, MEMORY_BYTES, np.uint8)
    return machine, memory


@cocotb.test()
async def random_programs(dut):
    settings = config()
    machine, memory = await new_machine(dut, cocotb.RANDOM_SEED)
    rng = random.Random(cocotb.RANDOM_SEED)
    for _ in range(int(os.environ.get("WEFT_TEST_PROGRAMS", "6"))):
        model = Model(settings, memory.copy())
        code, registers = random_program(rng, settings, model)
        before = memory.copy()
        before[TABLE:DATA] = model.memory[TABLE:DATA]
        machine.ram.write(machine.base, before.tobytes())
        encoded = isa.encode_program(code)
        model.memory[PROGRAM:PROGRAM + len(encoded)] = encoded
        await machine.start(encoded, registers)
        await machine.finish()
        assert await machine.status("done") and not await machine.status("error"), hex(await machine.read("CAUSE"))
        after = np.frombuffer(machine.ram.read(machine.base, MEMORY_BYTES), np.uint8)
        different = np.flatnonzero(after != model.memory)
        assert not len(different), (f"{len(different)} bytes differ, first at 0x{different[0]:x}:\n"
                                    + "\n".join(isa.disassemble(encoded)))
        await machine.write("STATUS", BY_NAME["STATUS"].mask("irq"))
        assert not dut.irq.value
