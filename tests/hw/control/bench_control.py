"""cocotb: registers, control instructions, errors, abort and interrupt, on the memory path."""

import random
import sys
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from weft.hw import isa
from weft.hw.control.register_map import BY_NAME, MAGIC, REGISTER_MAP

sys.path.append(str(Path(__file__).parents[1] / "dma"))
from bench_memory_path import DATA, OUT, PROGRAM, Machine, config  # noqa: E402


def signed(value):
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


def transfer(settings, engine, **fields):
    """One run of two granules."""
    return (engine, dict(run_words=2 * settings.dma_words, inner_count=1, outer_count=1) | fields)


async def run(machine, code, registers=()):
    await machine.start(isa.encode_program(code), registers)
    await machine.finish()
    result = {name: await machine.read(name) for name in ("CAUSE", "ERROR_PC", "CYCLES_LO", "READ_BEATS", "WRITE_BEATS")}
    status = await machine.read("STATUS")
    assert bool(status & BY_NAME["STATUS"].mask("done")) != bool(status & BY_NAME["STATUS"].mask("error"))
    assert not status & BY_NAME["STATUS"].mask("busy")
    await machine.write("STATUS", BY_NAME["STATUS"].mask("irq"))
    assert not machine.dut.irq.value
    return result


async def check_works(machine, settings):
    """A copy through the scratchpad still works."""
    data = random.randbytes(2 * settings.dma_bytes)
    machine.ram.write(machine.base + DATA, data)
    result = await run(machine, [
        transfer(settings, "LOAD", dram_addr=DATA, signal=1),
        transfer(settings, "STORE", dram_addr=OUT, wait=1), ("END", {})])
    assert result["CAUSE"] == 0, result
    assert machine.ram.read(machine.base + OUT, len(data)) == data
    assert result["WRITE_BEATS"] == len(data) // settings.data_bytes
    assert result["READ_BEATS"] >= len(data) // settings.data_bytes + 3 * 32 // settings.data_bytes


@cocotb.test()
async def registers(dut):
    settings = config()
    machine = Machine(dut, cocotb.RANDOM_SEED)
    await machine.reset()
    assert await machine.read("ID") == MAGIC
    assert await machine.read("VERSION") == isa.VERSION
    assert await machine.read("FINGERPRINT") == settings.fingerprint
    values = {}
    for register in REGISTER_MAP:
        if register.access == "RW" and register.name not in ("CONTROL", "STATUS"):
            values[register.name] = random.getrandbits(8 if register.name == "PROGRAM_HI" else 32)
            await machine.write(register.name, values[register.name])
    for name, value in values.items():
        assert await machine.read(name) == value, name
    # Single bytes, and what cannot be written.
    await machine.lite.write(BY_NAME["R5"].offset + 2, b"\x5a")
    assert await machine.read("R5") == values["R5"] & ~0xFF0000 | 0x5A0000
    for name in ("ID", "R0", "CAUSE", "LOAD_STATE"):
        before = await machine.read(name)
        await machine.write(name, ~before)
        assert await machine.read(name) == before
    assert await machine.lite.read_dword(0xFFC) == 0


@cocotb.test()
async def calc_and_branch(dut):
    machine = Machine(dut, cocotb.RANDOM_SEED)
    await machine.reset()
    rng = random.Random(cocotb.RANDOM_SEED)
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
            code.append(("BRANCH", dict(cond=condition, ra=rng.randrange(16), rb=rng.randrange(16),
                                        offset=rng.randrange(4))))
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
        result = await run(machine, [*code, ("END", {})], initial)
        assert result["CAUSE"] == 0, result
        assert [await machine.read(f"R{n}") for n in range(16)] == model


@cocotb.test()
async def loop(dut):
    """A backward branch: stores R1 times, each to its own place."""
    settings = config()
    machine = Machine(dut, cocotb.RANDOM_SEED, stalls=False)
    await machine.reset()
    step = 4 * settings.dma_bytes
    data = random.randbytes(2 * settings.dma_bytes)
    machine.ram.write(machine.base + DATA, data)
    result = await run(machine, [
        transfer(settings, "LOAD", dram_addr=DATA, signal=1), ("STORE_SYNC", dict(wait=1, wait_count=1)),
        transfer(settings, "STORE", dram_addr=OUT + step, dram_reg=2),
        ("CALC", dict(rd=2, ra=2, imm=step)), ("CALC", dict(rd=1, ra=1, imm=-1)),
        ("BRANCH", dict(cond=isa.Condition.NE, ra=1, rb=0, offset=-4)), ("END", {})], {1: 5, 2: (-step) & 0xFFFFFFFF})
    assert result["CAUSE"] == 0
    for n in range(5):
        assert machine.ram.read(machine.base + OUT + n * step, len(data)) == data, n


@cocotb.test()
async def illegal_instructions(dut):
    settings = config()
    machine = Machine(dut, cocotb.RANDOM_SEED)
    await machine.reset()
    words = [0x05, 0xFF, 1 << 20, isa.encode("STORE_SYNC") | 1 << 255, isa.encode("LOAD", run_words=1, inner_count=1)]
    for position, word in enumerate(words):
        code = isa.encode_program([transfer(settings, "LOAD", dram_addr=DATA)] * position)
        code = bytes(code) + word.to_bytes(32, "little") + bytes(isa.encode_program([("END", {})]))
        await machine.start(code)
        await machine.finish()
        assert await machine.status("error") and not await machine.status("done")
        assert await machine.read("CAUSE") == isa.ErrorCause.ILLEGAL_INSTRUCTION
        assert await machine.read("ERROR_PC") == position
        await check_works(machine, settings)


@cocotb.test()
async def bus_errors(dut):
    settings = config()
    machine = Machine(dut, cocotb.RANDOM_SEED)
    await machine.reset()
    read, write = machine.ram.read_if._read, machine.ram.write_if._write
    faulty = machine.base + 0x14000

    async def faulty_read(address, length):
        if faulty <= address < faulty + 4096:
            raise ValueError("no memory here")
        return await read(address, length)

    async def faulty_write(address, data):
        if faulty <= address < faulty + 4096:
            raise ValueError("no memory here")
        await write(address, data)

    machine.ram.read_if._read, machine.ram.write_if._write = faulty_read, faulty_write
    # Many transfers are under way when the error comes.
    busy = [transfer(settings, "LOAD", dram_addr=DATA), transfer(settings, "STORE", dram_addr=OUT)] * 3
    bad = 0x14000
    result = await run(machine, [*busy, transfer(settings, "LOAD", dram_addr=bad), *busy, ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.READ_ERROR, 6)
    await check_works(machine, settings)
    result = await run(machine, [*busy, transfer(settings, "STORE", dram_addr=bad), *busy, ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.WRITE_ERROR, 6)
    await check_works(machine, settings)
    # An instruction that cannot be read, reached by a branch; prefetching it does no harm.
    jump = bad - PROGRAM >> 5
    result = await run(machine, [("BRANCH", dict(cond=isa.Condition.EQ, offset=jump - 1)), ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.READ_ERROR, jump)
    await check_works(machine, settings)


@cocotb.test()
async def token_overflow(dut):
    settings = config()
    machine = Machine(dut, cocotb.RANDOM_SEED)
    await machine.reset()
    result = await run(machine, [("LOAD_SYNC", dict(signal=7, signal_count=255)), ("END", {})])
    assert result["CAUSE"] == 0
    result = await run(machine, [("LOAD_SYNC", dict(signal=7, signal_count=255)), ("BARRIER", {}),
                                 ("STORE_SYNC", dict(signal=7, signal_count=1)), ("BARRIER", {}), ("END", {})])
    assert (result["CAUSE"], result["ERROR_PC"]) == (isa.ErrorCause.TOKEN_OVERFLOW, 2)
    await check_works(machine, settings)


@cocotb.test()
async def deadlock_and_abort(dut):
    """A wait for a token that never comes: the registers say who waits for what; abort ends it, also amid traffic."""
    settings = config()
    machine = Machine(dut, cocotb.RANDOM_SEED)
    await machine.reset()
    await machine.start(isa.encode_program([
        transfer(settings, "LOAD", dram_addr=DATA), ("STORE_SYNC", dict(wait=9, wait_count=1)), ("END", {})]))
    await ClockCycles(dut.clk, 800)
    assert await machine.status("busy")
    assert await machine.read("STORE_STATE") == 2 | 9 << 8 and await machine.read("STORE_PC") == 1
    assert await machine.read("LOAD_STATE") == BY_NAME["LOAD_STATE"].mask("idle")
    assert await machine.read("STORE_WAIT_TOKEN") > 100
    await machine.write("CONTROL", BY_NAME["CONTROL"].mask("abort") | BY_NAME["CONTROL"].mask("irq_enable"))
    await machine.finish()
    assert await machine.status("error") and not await machine.status("busy")
    assert await machine.read("CAUSE") == isa.ErrorCause.ABORTED
    await check_works(machine, settings)
    for _ in range(6):
        many = dict(inner_count=500, inner_dram_stride=2 * settings.dma_bytes)
        await machine.start(isa.encode_program([transfer(settings, "LOAD", dram_addr=DATA, **many),
                                                transfer(settings, "STORE", dram_addr=OUT, **many), ("END", {})]))
        await ClockCycles(dut.clk, random.randrange(120, 400))
        assert await machine.status("busy")
        await machine.write("CONTROL", BY_NAME["CONTROL"].mask("abort") | BY_NAME["CONTROL"].mask("irq_enable"))
        await machine.finish()
        assert await machine.read("CAUSE") == isa.ErrorCause.ABORTED
        await check_works(machine, settings)
