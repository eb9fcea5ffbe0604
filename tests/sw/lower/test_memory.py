"""Where constants, code and buffers lie in a program's memory."""

import numpy as np
import pytest

import weft
from weft.lower.memory import GUARD_BYTES, MemoryMap


@pytest.mark.parametrize("data_bytes", [4, 64])
@pytest.mark.parametrize("code_bytes", [32, 2000, 3968])
def test_fetch_may_read_on_behind_the_last_instruction(data_bytes, code_bytes):
    config = weft.Config(rows=64, cols=64, data_bytes=data_bytes)
    memory = MemoryMap(config)
    memory.constant(np.ones(16, np.uint8))
    memory.buffer("x", 16, "input")
    image, code, first, buffers, size = memory.finish(code_bytes)
    # 32 instructions or 16 beats in the buffer, one in hand and one being put together.
    assert size >= code + code_bytes + max(1024, 16 * data_bytes) + 2 * 32
    assert size % 4096 == 0 and image.size == code + code_bytes
    assert first >= code + code_bytes + GUARD_BYTES and size >= buffers[-1].offset + buffers[-1].bytes + GUARD_BYTES
