"""Random DMA programs against a model in NumPy, on an independent AXI memory.

Needs the accelerator's ports only: runs on the whole accelerator, or on control, DMA and scratchpad alone. Environment:
``WEFT_CONFIG`` (JSON), ``WEFT_PROGRAMS`` (how many programs, default 6).
"""

import json
import os
from random import Random

import cocotb
import numpy as np

from weft.hw import isa
from weft.hw.config import Config
from weft.sim.cocotb.accelerator import BASE, Device
from weft.sim.cocotb.dma_model import DATA, MEMORY_BYTES, PROGRAM, TABLE, DmaModel, random_program

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
PROGRAMS = int(os.environ.get("WEFT_PROGRAMS", "6"))


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def random_transfers(dut):
    """Loads, stores and gathers with rings, strides, registers and tokens; every byte of the memory is compared."""
    random = Random(cocotb.RANDOM_SEED)
    memory = np.random.default_rng(cocotb.RANDOM_SEED).integers(0, 256, MEMORY_BYTES, np.uint8)
    device = Device(dut, MEMORY_BYTES, random)
    await device.reset()
    for _ in range(PROGRAMS):
        model = DmaModel(CONFIG, memory.copy())
        code, registers = random_program(random, CONFIG, model)
        before = memory.copy()
        before[TABLE:DATA] = model.memory[TABLE:DATA]
        encoded = isa.encode_program(code)
        for image in before, model.memory:
            image[PROGRAM:PROGRAM + len(encoded)] = encoded
        device.ram.write(BASE, before.tobytes())
        await device.start(PROGRAM, registers)
        await device.finish()
        assert await device.status("done") and not await device.status("error"), await device.state()
        if hasattr(dut, "broken"):      # a port of the memory path alone
            assert not int(dut.broken.value), f"waits for tokens (loads, stores): {dut.broken.value}"
        after = np.frombuffer(device.ram.read(BASE, MEMORY_BYTES), np.uint8)
        different = np.flatnonzero(after != model.memory)
        assert not len(different), (f"{len(different)} bytes differ, first at 0x{different[0]:x}:\n"
                                    + "\n".join(isa.disassemble(encoded)))
