"""Builds the vector engine and runs random instructions on it in a C++ loop."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from weft.hw import isa, verilog
from weft.hw.interfaces import READ_LATENCY
from weft.hw.memory import wrapper
from weft.hw.vector.engine import VectorEngine
from weft.sim.cocotb.vector_program import VectorProgram
from weft.sim.verilator import build_library

RANGE = np.dtype([("token", "<i4"), ("memory", "<i4"), ("start", "<i4"), ("count", "<i4")])


@cache
def sources(config):
    return {"vector_engine.v": verilog.convert(VectorEngine(config), "vector_engine") + wrapper.VERILOG}


@cache
def library(config):
    path = build_library(sources(config), "vector_engine", [Path(__file__).with_name("harness.cpp")], optimize="build")
    return ctypes.CDLL(str(path))


class Bench(VectorProgram):
    """A program that runs on the engine."""

    def __init__(self, config, seed):
        super().__init__(config, seed)
        self.seed = seed
        #: What the model computes with instead of ``accumulators``, if anything.
        self.model_accumulators = None

    def run(self, grant=100):
        """Runs on the engine and on the model and compares memories, rescale distances and tokens.

        ``grant``: percentage of reads granted at once. Returns ``(cycles, log)`` with the signals as (token, writes
        before it).
        """
        config = self.config
        code = isa.encode_program(self.instructions)
        scratchpad, accumulators = self.start()
        reveals, hides = np.array(self.reveals, RANGE), np.array(self.hides, RANGE)
        tokens, log = np.zeros(isa.SEMAPHORES, np.int32), np.zeros((1 << 14, 2), np.int32)
        count, distances = ctypes.c_int32(), np.zeros(config.state_rows, np.uint8)

        def pointer(array):
            return array.ctypes.data_as(ctypes.c_void_p)

        cycles = library(config).run(
            pointer(code), len(self.instructions), pointer(scratchpad), pointer(accumulators), pointer(self.scratchpad),
            pointer(self.accumulators), config.word_bytes, config.cols, pointer(reveals), len(reveals), pointer(hides),
            len(hides), pointer(tokens), pointer(log), ctypes.byref(count), pointer(distances), config.state_rows,
            READ_LATENCY, grant, ctypes.c_uint64(self.seed), 400_000)
        assert cycles != -2, "the engine broke a rule of its ports"
        assert cycles != -1, "the engine did not finish"
        self.check(scratchpad, distances, tokens, self.model_accumulators)
        return cycles, log[:count.value]
