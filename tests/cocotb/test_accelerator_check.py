"""The comparison that cocotb benches end with finds a single wrong byte, wherever it is."""

import numpy as np
import pytest

from weft.hw.config import Config
from weft.sim.cocotb.accelerator import _FILL, BASE, Accelerator
from weft.sim.fuzz import random_image
from weft.sim.golden import GoldenMachine


@pytest.fixture(scope="module")
def run():
    """``(image, golden result, memory, written)`` as of an accelerator that did everything right."""
    image, inputs = random_image(Config.named("tiny"), 1)
    golden = GoldenMachine(image).run(inputs)
    memory = np.full(image.memory_bytes, _FILL, np.uint8)
    memory[:image.constant.size] = image.constant
    for buffer in image.buffers:
        if buffer.kind != "constant":
            memory[buffer.offset:buffer.offset + buffer.bytes] = golden.buffers[buffer.name]
    log = golden.store_log
    written = [(int(address) + n + BASE, int(value)) for address, data in zip(log.addresses, log.data)
               for n, value in enumerate(data)]
    return image, golden, memory, written


def check(run, memory=None, written=None):
    image, golden, right_memory, right_written = run
    accelerator = Accelerator.__new__(Accelerator)      # without a design under test
    accelerator.written = right_written if written is None else written
    return accelerator.check(image, golden, right_memory if memory is None else memory)


def test_right_run_passes(run):
    assert check(run) == len(run[3]) > 0


@pytest.mark.parametrize("place", [0, -1])
def test_wrong_byte_on_the_bus(run, place):
    written = list(run[3])
    written[place] = written[place][0], written[place][1] ^ 1
    with pytest.raises(AssertionError, match="other bytes"):
        check(run, written=written)


def test_missing_byte_on_the_bus(run):
    with pytest.raises(AssertionError, match="other addresses"):
        check(run, written=run[3][:-1])


def test_wrong_byte_in_memory(run):
    image, _, memory, _ = run
    guard = np.ones(memory.size, bool)
    guard[:image.constant.size] = False
    for buffer in image.buffers:
        guard[buffer.offset:buffer.offset + buffer.bytes] = False
    output = next(b for b in image.buffers if b.kind == "output")
    for place, message in ((0, "constants"), (output.offset, f"buffer {output.name}"), (guard.argmax(), "guard")):
        wrong = memory.copy()
        wrong[place] ^= 1
        with pytest.raises(AssertionError, match=message):
            check(run, memory=wrong)
