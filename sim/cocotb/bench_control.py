"""Registers, control instructions, errors, abort and interrupt, with loads and stores under way.

Needs the accelerator's ports only: runs on the whole accelerator, or on control, DMA and scratchpad alone. Environment:
``WEFT_CONFIG`` (JSON).
"""

import json
import os
from random import Random

import cocotb
from cocotb.triggers import ClockCycles

from weft.hw import isa
from weft.hw.config import Config
from weft.hw.control.register_map import BY_NAME, MAGIC, REGISTER_MAP
from weft.sim.cocotb.accelerator import BASE, Device
from weft.sim.cocotb.dma_model import DATA, OUT, PROGRAM

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))


def signed(value):
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


def transfer(engine, **fields):
    """One run of two granules."""
    return engine, dict(run_words=2 * CONFIG.dma_words, inner_count=1, outer_count=1) | fields


class Bench(Device):
    """The device, and programs without buffers."""

    def __init__(self, dut, stalls=True):
        self.random = Random(cocotb.RANDOM_SEED)
        super().__init__(dut, 1 << 19, self.random if stalls else None)

    async def launch(self, code, registers=()):
        """Starts instructions: a list as of `isa.encode_program`, in which a number stands for a word as it is."""
        words = b"".join(word.to_bytes(32, "little") if isinstance(word, int) else bytes(isa.encode_program([word]))
                         for word in code)
        self.ram.write(BASE + PROGRAM, words)
        await self.start(PROGRAM, registers)

    async def run(self, code, registers=()):
        """Runs to the end, good or bad; returns what the registers say about it."""
        await self.launch(code, registers)
        return await self.ended()

    async def ended(self):
        await self.finish()
        result = {name: await self.read(name) for name in ("CAUSE", "ERROR_PC", "READ_BEATS", "WRITE_BEATS")}
        assert await self.status("done") != await self.status("error")
        assert await self.status("error") == (result["CAUSE"] != isa.ErrorCause.NONE)
        assert not await self.status("busy")
        await self.write("STATUS", BY_NAME["STATUS"].mask("irq"))
        assert not self.dut.irq.value
        return result

    async def check_works(self):
        """A copy through the scratchpad still works."""
        data = self.random.randbytes(2 * CONFIG.dma_bytes)
        self.ram.write(BASE + DATA, data)
        result = await self.run([transfer("LOAD", dram_addr=DATA, signal=1), transfer("STORE", dram_addr=OUT, wait=1),
                                 ("END", {})])
        assert result["CAUSE"] == 0, result
        assert self.ram.read(BASE + OUT, len(data)) == data
        assert result["WRITE_BEATS"] == len(data) // CONFIG.data_bytes
        assert result["READ_BEATS"] >= len(data) // CONFIG.data_bytes + 3 * 32 // CONFIG.data_bytes


async def new_bench(dut, stalls=True):
    bench = Bench(dut, stalls)
    await bench.reset()
    return bench


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def registers(dut):
    bench = await new_bench(dut)
    assert await bench.read("ID") == MAGIC
    assert await bench.read("VERSION") == isa.VERSION
    assert await bench.read("FINGERPRINT") == CONFIG.fingerprint
    values = {}
    for register in REGISTER_MAP:
        if register.access == "RW" and register.name not in ("CONTROL", "STATUS"):
            values[register.name] = bench.random.getrandbits(8 if register.name == "PROGRAM_HI" else 32)
            await bench.write(register.name, values[register.name])
    for name, value in values.items():
        assert await bench.read(name) == value, name
    # Single bytes, and what cannot be written.
    await bench.registers.write(BY_NAME["R5"].offset + 2, b"\x5a")
    assert await bench.read("R5") == values["R5"] & ~0xFF0000 | 0x5A0000
    for name in ("ID", "R0", "CAUSE", "LOAD_STATE"):
        before = await bench.read(name)
        await bench.write(name, ~before)
        assert await bench.read(name) == before
    assert await bench.registers.read_dword(0xFFC) == 0


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def calc_and_branch(dut):
    bench = await new_bench(dut)
    rng = bench.random
    for _ in range(3):
        model = [0] + [rng.choice([rng.getrandbits(32), rng.randrange(4)]) for _ in range(15)]
        initial = dict(enumerate(model))
        code = []
        for _ in range(30):
            fields = dict(rd=rng.randrange(16), ra=rng.randrange(16), rb=rng.randrange(16), left=rng.randrange(32),
                          right=rng.choice([0, rng.randrange(32)]), imm=signed(rng.getrandbits(32)))
            code.append(("CALC", fields))
        # Branches forward only, over instructions that would show.
        for condition in list(isa.Condition) * 3:
            # Equal operands are rare among random ones.
            ra = rng.randrange(16)
            rb = rng.choice([ra, rng.randrange(16), rng.randrange(16)])
            code.append(("BRANCH", dict(cond=condition, ra=ra, rb=rb, offset=rng.randrange(1, 4))))
            for _ in range(3):
                code.append(("CALC", dict(rd=rng.randrange(1, 16), ra=rng.randrange(16), imm=rng.randrange(100))))
        pc = 0
        while pc < len(code):
            name, f = code[pc]
            pc += 1
            a, b = signed(model[f["ra"]]), signed(model[f.get("rb", 0)])
            if name == "CALC":
                value = signed((a << f.get("left", 0)) + b + f["imm"]) >> f.get("right", 0)
                model[f["rd"]] = value & 0xFFFFFFFF if f["rd"] else 0
            elif (a == b, a != b, a < b, a >= b)[f["cond"]]:
                pc += f["offset"]
        result = await bench.run([*code, ("END", {})], initial)
        assert result["CAUSE"] == 0, result
        assert [await bench.read(f"R{n}") for n in range(16)] == model


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def loop(dut):
    """A backward branch: stores R1 times, each to its own place."""
    bench = await new_bench(dut, stalls=False)
    step = 4 * CONFIG.dma_bytes
    data = bench.random.randbytes(2 * CONFIG.dma_bytes)
    bench.ram.write(BASE + DATA, data)
    result = await bench.run([
        transfer("LOAD", dram_addr=DATA, signal=1), ("STORE_SYNC", dict(wait=1, wait_count=1)),
        transfer("STORE", dram_addr=OUT + step, dram_reg=2),
        ("CALC", dict(rd=2, ra=2, imm=step)), ("CALC", dict(rd=1, ra=1, imm=-1)),
        ("BRANCH", dict(cond=isa.Condition.NE, ra=1, rb=0, offset=-4)), ("END", {})], {1: 5, 2: (-step) & 0xFFFFFFFF})
    assert result["CAUSE"] == 0
    for n in range(5):
        assert bench.ram.read(BASE + OUT + n * step, len(data)) == data, n


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def illegal_instructions(dut):
    bench = await new_bench(dut)
    words = [0x05, 0xFF, 1 << 20, isa.encode("STORE_SYNC") | 1 << 255,
             isa.encode("LOAD", run_words=1, inner_count=1)]
    for position, word in enumerate(words):
        result = await bench.run([transfer("LOAD", dram_addr=DATA)] * position + [word, ("END", {})])
        assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.ILLEGAL_INSTRUCTION, position)
        await bench.check_works()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def bus_errors(dut):
    bench = await new_bench(dut)
    read, write = bench.ram.read_if._read, bench.ram.write_if._write
    faulty = BASE + 0x14000

    async def faulty_read(address, length):
        if faulty <= address < faulty + 4096:
            raise ValueError("no memory here")
        return await read(address, length)

    async def faulty_write(address, data):
        if faulty <= address < faulty + 4096:
            raise ValueError("no memory here")
        await write(address, data)

    bench.ram.read_if._read, bench.ram.write_if._write = faulty_read, faulty_write
    # Many transfers are under way when the error comes.
    busy = [transfer("LOAD", dram_addr=DATA), transfer("STORE", dram_addr=OUT)] * 3
    bad = 0x14000
    result = await bench.run([*busy, transfer("LOAD", dram_addr=bad), *busy, ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.READ_ERROR, 6)
    await bench.check_works()
    result = await bench.run([*busy, transfer("STORE", dram_addr=bad), *busy, ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.WRITE_ERROR, 6)
    await bench.check_works()
    # An instruction that cannot be read, reached by a branch; prefetching it does no harm.
    jump = bad - PROGRAM >> 5
    result = await bench.run([("BRANCH", dict(cond=isa.Condition.EQ, offset=jump - 1)), ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.READ_ERROR, jump)
    await bench.check_works()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def token_overflow(dut):
    bench = await new_bench(dut)
    result = await bench.run([("LOAD_SYNC", dict(signal=7, signal_count=255)), ("END", {})])
    assert result["CAUSE"] == 0
    result = await bench.run([("LOAD_SYNC", dict(signal=7, signal_count=255)), ("BARRIER", {}),
                              ("STORE_SYNC", dict(signal=7, signal_count=1)), ("BARRIER", {}), ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.TOKEN_OVERFLOW, 2)
    await bench.check_works()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def deadlock_and_abort(dut):
    """A wait for a token that never comes: the registers say who waits for what; abort ends it, also amid traffic."""
    bench = await new_bench(dut)
    await bench.launch([transfer("LOAD", dram_addr=DATA), ("STORE_SYNC", dict(wait=9, wait_count=1)), ("END", {})])
    await ClockCycles(dut.clk, 800)
    assert await bench.status("busy")
    assert await bench.read("STORE_STATE") == 2 | 9 << 8 and await bench.read("STORE_PC") == 1
    assert await bench.read("LOAD_STATE") == BY_NAME["LOAD_STATE"].mask("idle")
    assert await bench.read("STORE_WAIT_TOKEN") > 100
    await bench.command("abort")
    assert (await bench.ended())["CAUSE"] == isa.ErrorCause.ABORTED
    await bench.check_works()
    for _ in range(6):
        many = dict(inner_count=500, inner_dram_stride=2 * CONFIG.dma_bytes)
        await bench.launch([transfer("LOAD", dram_addr=DATA, **many), transfer("STORE", dram_addr=OUT, **many),
                            ("END", {})])
        await ClockCycles(dut.clk, bench.random.randrange(120, 400))
        assert await bench.status("busy")
        await bench.command("abort")
        assert (await bench.ended())["CAUSE"] == isa.ErrorCause.ABORTED
        await bench.check_works()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def abort_before_the_start(dut):
    """A start waits until what was fetched behind END has come: an abort meanwhile ends it, in whatever cycle."""
    bench = await new_bench(dut, stalls=False)
    # Ends at once, but with R1 set waits for ever.
    code = [("BRANCH", dict(cond=isa.Condition.NE, ra=1, offset=1)), ("END", {}),
            ("LOAD_SYNC", dict(wait=9, wait_count=1)), ("END", {})]
    for wait in range(60):
        await bench.launch(code, {1: 0})
        await bench.finish()
        await bench.write("R1", 1)
        await bench.command("start")
        await ClockCycles(dut.clk, wait)
        await bench.command("abort")
        assert (await bench.ended())["CAUSE"] == isa.ErrorCause.ABORTED, wait
    await bench.check_works()
