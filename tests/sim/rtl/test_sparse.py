"""Sparse weights on the RTL: random programs and layers against the golden model, cycles against the performance model."""

from dataclasses import replace

import numpy as np
import pytest

from weft import workloads
from weft.hw.config import Config
from weft.hw.errors import ProgramError, RunError
from weft.hw.image import Image
from weft.hw.isa import encode_program
from weft.performance import predict
from weft.sim.compare import run_both
from weft.sim.fuzz import random_image
from weft.sim.golden import GoldenMachine

CONFIG = replace(Config.named("tiny"), sparsity="1:4")


@pytest.fixture
def machine(rtl_machine):
    return rtl_machine(CONFIG)


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_programs_are_equal(machine, first):
    for seed in range(first, first + 10):
        image, inputs = random_image(CONFIG, seed)
        run_both(image, inputs, machine, memory="stress" if seed % 2 else "reference", seed=seed, limit_cycles=1_000_000)


@pytest.mark.parametrize("weights", ["dense", "2:4", "1:4"])
@pytest.mark.parametrize("shape", [(1, 96, 128), (3, 100, 40), (13, 128, 64), (24, 64, 48), (40, 70, 100), (130, 48, 40)])
def test_products(machine, shape, weights):
    program, args, kwargs = workloads.gemm(*shape, CONFIG, weights=weights)
    cycles = program.verify(args, kwargs, machine=machine).stats.cycles
    found = predict(program.image).cycles
    # Three rows are over before the next instructions are there, which the model does not tell to the cycle.
    assert shape[0] == 3 or abs(found - cycles) <= 0.03 * cycles + 20, (found, cycles)


def test_illegal_number_of_missing_panels(machine):
    for w_format, missing, panels in (0, 1, 1), (2, 2, 2):
        fields = dict(rows=1, k_tiles=1, n_tiles=1, chunk_tiles=1, w_format=w_format, k_missing=missing)
        code = encode_program([("MATMUL", fields), ("END", {})])
        image = Image(CONFIG, np.concatenate([np.zeros(128, np.uint8), code]), 8192, 128, 2, [], ["layer"])
        with pytest.raises(RunError, match=r"stopped with ILLEGAL_INSTRUCTION at instruction 0 \(layer\)"):
            machine.run(image, {})
        with pytest.raises(ProgramError, match=f"k_missing must be less than the {panels} panels of a K tile, not {missing}"):
            GoldenMachine(image).run({})
