"""Builds the vector engine and runs instructions on it beside the reference."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from reference import Reference
from weft.hw import isa, verilog
from weft.hw.memory import wrapper
from weft.hw.vector.engine import VectorEngine
from weft.sim.verilator import build_library

RANGE = np.dtype([("token", "<i4"), ("memory", "<i4"), ("start", "<i4"), ("count", "<i4")])
SCRATCHPAD, ACCUMULATORS = 0, 1


@cache
def sources(config):
    return {"vector_engine.v": verilog.convert(VectorEngine(config), "vector_engine") + wrapper.VERILOG}


@cache
def library(config):
    path = build_library(sources(config), "vector_engine", [Path(__file__).with_name("harness.cpp")], optimize="build")
    return ctypes.CDLL(str(path))


class Bench:
    """One program: memories, instructions, and what must hold afterwards.

    ``scratchpad`` and ``accumulators`` are what the program starts with; ``alloc`` hands out scratchpad words.
    """

    def __init__(self, config, seed):
        self.config, self.seed = config, seed
        self.random = np.random.default_rng(seed)
        self.scratchpad = self.random.integers(0, 256, (config.scratchpad_words, config.word_bytes), np.uint8)
        self.accumulators = self.random.integers(-1 << 20, 1 << 20, (config.accumulator_words, config.cols)).astype(np.int32)
        #: What the reference reads instead of ``accumulators``, if anything.
        self.reference_accumulators = None
        self.free = 0
        self.program, self.reveals, self.hides = [], [], []
        self.tokens = np.zeros(32, np.int32)

    def alloc(self, words):
        """First of ``words`` new scratchpad words, at an even address."""
        first, self.free = self.free, self.free + words + (words & 1)
        assert self.free <= self.config.scratchpad_words, "the test needs too much scratchpad"
        return first

    def add(self, mnemonic, **fields):
        self.program.append((mnemonic, fields))

    def run(self, grant=100, tokens_left=None):
        """Runs on the engine and on the reference and compares memories, rescale distances and tokens; returns
        ``(cycles, log)`` with the signals as (token, writes before it)."""
        config = self.config
        code = isa.encode_program(self.program)
        scratchpad, accumulators = self.scratchpad.copy(), self.accumulators.copy()
        # What a token announces is noise before it comes.
        for token, memory, start, count in self.reveals:
            target = accumulators.view(np.uint8) if memory else scratchpad
            part = target[start:start + count]
            part[...] = self.random.integers(0, 256, part.shape, np.uint8)
        seen = self.accumulators if self.reference_accumulators is None else self.reference_accumulators
        reference = Reference(config, self.scratchpad.copy(), seen)
        for mnemonic, fields in self.program:
            reference.execute(mnemonic, fields)

        reveals, hides = np.array(self.reveals, RANGE), np.array(self.hides, RANGE)
        tokens, log = self.tokens.copy(), np.zeros((1 << 14, 2), np.int32)
        count, distances = ctypes.c_int32(), np.zeros(config.state_rows, np.uint8)

        def pointer(array):
            return array.ctypes.data_as(ctypes.c_void_p)

        cycles = library(config).run(
            pointer(code), len(self.program), pointer(scratchpad), pointer(accumulators), pointer(self.scratchpad),
            pointer(self.accumulators), config.word_bytes, config.cols, pointer(reveals), len(reveals), pointer(hides),
            len(hides), pointer(tokens), pointer(log), ctypes.byref(count), pointer(distances), config.state_rows, grant,
            ctypes.c_uint64(self.seed), 400_000)
        assert cycles != -2, "the engine broke a rule of its ports"
        assert cycles != -1, "the engine did not finish"
        same = np.ones(len(scratchpad), bool)
        for _, memory, start, length in self.hides:
            if memory == SCRATCHPAD:
                same[start:start + length] = False
        wrong = np.argwhere((scratchpad != reference.scratchpad) & same[:, None])
        assert wrong.size == 0, (
            f"word {wrong[0][0]} byte {wrong[0][1]} is {scratchpad[tuple(wrong[0])]}, not "
            f"{reference.scratchpad[tuple(wrong[0])]} ({len(wrong)} bytes differ); {self.program}")
        used = np.zeros(config.state_rows, bool)
        for mnemonic, fields in self.program:
            if mnemonic == "SOFTMAX":
                used[fields.get("state_base", 0):][:fields["rows"]] = True
        assert (distances[used] == reference.distance[used]).all()
        expected = np.zeros(32, np.int32) if tokens_left is None else tokens_left
        assert (tokens == expected).all(), f"tokens {tokens.tolist()}, not {expected.tolist()}"
        return cycles, log[:count.value]
