"""Configurations at the ends of their ranges: random programs on RTL and golden model."""

import pytest

from weft.hw.config import Config
from weft.sim.compare import run_both
from weft.sim.fuzz import random_image
from weft.sim.rtl import RtlMachine

#: Every parameter as small, or as large, as it goes.
LEAST = dict(data_bytes=4, vector_lanes=1, scratchpad_banks=1, accumulator_banks=2, state_rows=16, index_entries=16,
             queue_depth=2, bursts_in_flight=2, address_bits=32)
MOST = dict(scratchpad_banks=16, accumulator_banks=8, state_rows=1024, index_entries=1024, queue_depth=16,
            bursts_in_flight=64, address_bits=64)
#: Programs on each: the first twenty are for the configurations that are cheap to build.
CONFIGS = {
    "least": (Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4, key_block=4, **LEAST), 20),
    "most": (Config(rows=4, cols=8, scratchpad_kib=4096, accumulator_kib=512, data_bytes=16, key_block=1024, **MOST), 20),
    "small": (Config.named("small"), 20),
    "base": (Config.named("base"), 20),
    "large": (Config.named("large"), 10),
    "4x64": (Config(rows=4, cols=64), 10),
    "4x64 wide bus": (Config(rows=4, cols=64, data_bytes=128, vector_lanes=16), 10),
    "64x4": (Config(rows=64, cols=4), 10),
    "64x4 least": (Config(rows=64, cols=4, key_block=64, **LEAST), 10),
    "63x61": (Config(rows=63, cols=61, vector_lanes=1), 4),
    "64x64": (Config(rows=64, cols=64), 4),
}


@pytest.mark.parametrize("name", [name if name == "least" else pytest.param(name, marks=pytest.mark.large)
                                  for name in CONFIGS])
def test_random_programs(name):
    config, programs = CONFIGS[name]
    rtl = RtlMachine(config, optimize="build", noise=True)
    for seed in range(programs):
        image, inputs = random_image(config, seed)
        for memory in ("reference", "stress"):
            run_both(image, inputs, rtl, memory=memory, seed=seed, limit_cycles=3_000_000)
