"""The whole accelerator: small programs on an independent AXI memory, every byte written compared with the golden model.

Environment: ``WEFT_CONFIG`` (JSON), ``WEFT_PROGRAMS`` (how many random programs, default 6), ``WEFT_IMAGE`` (a file written
by `weft.sim.fuzz.campaign.save`, which `saved_program_is_equal` runs; any size).
"""

import json
import os
from random import Random

import cocotb

from weft.hw.config import Config
from weft.hw.control.register_map import BY_NAME, MAGIC
from weft.hw.isa import VERSION, ErrorCause, encode
from weft.sim.cocotb.accelerator import BASE, Accelerator
from weft.sim.fuzz import random_program
from weft.sim.fuzz.campaign import replay
from weft.sim.golden import GoldenMachine

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
PROGRAMS = int(os.environ.get("WEFT_PROGRAMS", "6"))
_MEMORY = 1 << 21


def _program(seed):
    """A small random program whose memory the bench can hold."""
    while True:
        image, inputs = random_program(CONFIG, seed, size=6).image()
        if image.memory_bytes <= _MEMORY:
            return image, inputs
        seed += 10_000


async def _equal(dut, programs, random, limit_cycles=200_000):
    accelerator = Accelerator(dut, max(image.memory_bytes for image, _ in programs), random)
    await accelerator.reset()
    compared = 0
    for image, inputs in programs:
        golden = GoldenMachine(image).run(inputs)
        compared += accelerator.check(image, golden, await accelerator.run(image, inputs, limit_cycles))
    assert compared, "no program wrote anything"
    cocotb.log.info("%d bytes written, all equal", compared)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def programs_are_equal_on_a_fast_memory(dut):
    await _equal(dut, [_program(seed) for seed in range(PROGRAMS)], None)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def programs_are_equal_on_a_slow_memory(dut):
    random = Random(cocotb.RANDOM_SEED)
    await _equal(dut, [_program(100 + seed) for seed in range(PROGRAMS)], random)


# Defined only where there is something to run: a filter on names would run a test that is marked to be skipped.
if "WEFT_IMAGE" in os.environ:
    @cocotb.test(timeout_time=50, timeout_unit="ms")
    async def saved_program_is_equal(dut):
        image, inputs, *_ = replay(os.environ["WEFT_IMAGE"])
        assert image.config == CONFIG, f"the program is for {image.config.name}, the accelerator is {CONFIG.name}"
        await _equal(dut, [(image, inputs)], None, limit_cycles=20_000_000)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def identity_registers(dut):
    accelerator = Accelerator(dut, _MEMORY)
    await accelerator.reset()
    assert await accelerator.read("ID") == MAGIC
    assert await accelerator.read("VERSION") == VERSION
    assert await accelerator.read("FINGERPRINT") == CONFIG.fingerprint


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def illegal_instruction_stops_and_the_next_run_works(dut):
    accelerator = Accelerator(dut, _MEMORY)
    await accelerator.reset()
    image, inputs = _program(3)
    good = image.constant
    image.constant = good.copy()
    place = image.instructions // 2
    # Opcode 0x7f belongs to no engine. What comes before it may still be under way.
    image.constant[image.code_offset:image.code_offset + 32 * place] = list(
        encode("CALC").to_bytes(32, "little")) * place
    image.constant[image.code_offset + 32 * place] = 0x7F
    try:
        await accelerator.run(image, inputs)
        raise RuntimeError("an illegal instruction was executed")
    except AssertionError:
        pass
    status = await accelerator.read("STATUS")
    assert status & BY_NAME["STATUS"].mask("error") and not status & BY_NAME["STATUS"].mask("busy")
    assert await accelerator.read("CAUSE") == ErrorCause.ILLEGAL_INSTRUCTION
    assert await accelerator.read("ERROR_PC") == place
    image.constant = good
    golden = GoldenMachine(image).run(inputs)
    accelerator.check(image, golden, await accelerator.run(image, inputs))


assert BASE % 4096 == 0
