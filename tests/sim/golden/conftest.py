"""Small programs written by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.image import Buffer, Image
from weft.hw.isa import encode_program
from weft.sim.golden import GoldenMachine

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def reference():
    """The slow second implementation, ``reference(image, inputs, seed)``."""
    from reference import Reference

    return Reference


@pytest.fixture
def computes(reference):
    """``computes(image, expected)``: the image stores ``expected`` [rows, features] in its first buffer, int16 and row by row,
    and the second implementation the same bytes."""
    def check(image, expected):
        c, out = image.config, image.buffers[0]
        found = GoldenMachine(image).run({}).outputs[out.name]
        lines = found[:len(expected) * expected.shape[1] // c.panel * c.line_bytes].reshape(len(expected), -1, c.line_bytes)
        np.testing.assert_array_equal(lines.view("<i2")[..., :c.panel].reshape(len(expected), -1), expected)
        slow = reference(image, {}, 0)
        slow.run()
        assert bytes(slow.memory[out.offset:out.offset + out.bytes]) == found.tobytes()
    return check


class Builder:
    """Lays out constants, code and buffers; ``constants`` and ``buffers`` are given first, so that addresses are known."""

    def __init__(self, config, constants=(), buffers=()):
        self.config, self.code = config, []
        self.constants, self.offset, at = [], {}, 0
        for name, data in constants:
            data = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
            data = np.pad(data, (0, -data.size % 128))
            self.offset[name] = at
            self.constants.append(data)
            at += data.size
        self.code_offset, at = at, 8192
        self.buffers = []
        for name, kind, size in buffers:
            self.offset[name] = at
            self.buffers.append(Buffer(name, at, size, kind))
            at += -(-(size + 64) // 128) * 128
        self.memory_bytes = at

    def add(self, mnemonic, **fields):
        self.code.append((mnemonic, fields))
        return self

    def load(self, name, spm_addr, words, offset=0, **fields):
        """LOAD of consecutive words from a buffer or constant."""
        return self.add("LOAD", dram_addr=self.offset[name] + offset, spm_addr=spm_addr, run_words=words, inner_count=1,
                        outer_count=1, **fields)

    def store(self, name, spm_addr, words, offset=0, **fields):
        return self.add("STORE", dram_addr=self.offset[name] + offset, spm_addr=spm_addr, run_words=words, inner_count=1,
                        outer_count=1, **fields)

    def image(self, registers=None, end=True):
        code = self.code + [("END", {})] * end
        constant = np.concatenate([*self.constants, encode_program(code)])
        assert constant.size <= 8192 - 64
        return Image(self.config, constant, self.memory_bytes, self.code_offset, len(code), self.buffers,
                     registers=registers or {})


@pytest.fixture
def build():
    """``build(constants, buffers, config="tiny")``: a `Builder`."""
    return lambda constants=(), buffers=(), config="tiny": Builder(Config.load(config), constants, buffers)
