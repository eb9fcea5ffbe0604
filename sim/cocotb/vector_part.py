"""A part of the vector engine alone: its ports, and random choices about them."""

import json
import os
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from weft.hw.config import Config
from weft.hw.vector.job import job_layout

__all__ = ["CONFIG", "LANES", "GROUPS", "JOB", "Part", "bits"]

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
LANES = CONFIG.vector_lanes
GROUPS = CONFIG.panel // LANES
JOB = job_layout(CONFIG)


class Part:
    """The ports of one part by their names, with clock and reset running: ``set(name=value)``, ``get(name)``."""

    def __init__(self, dut, name):
        self.dut, self.name, self.handles = dut, name, {}
        self.random = Random(cocotb.RANDOM_SEED)
        self.numbers = np.random.default_rng(cocotb.RANDOM_SEED)

    def _handle(self, port):
        if port not in self.handles:
            self.handles[port] = getattr(self.dut, f"{self.name}_{port}")
        return self.handles[port]

    def set(self, **values):
        for port, value in values.items():
            self._handle(port).value = int(value)

    def get(self, port):
        return int(self._handle(port).value)

    def chance(self, rate):
        return self.random.random() < rate

    def noise(self, port):
        """Random bits for a port whose value does not count."""
        return self.random.getrandbits(len(self._handle(port)))

    async def start(self, *idle):
        """Resets the part; the ports ``idle`` are 0."""
        Clock(self.dut.clk, 2, unit="ns").start()
        self.set(**dict.fromkeys(idle, 0))
        self.dut.rst.value = 1
        for _ in range(2):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0


def bits(layout, **fields):
    """A value of a layout as a number."""
    return layout.const(fields).as_bits()
