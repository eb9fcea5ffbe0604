"""Layers with tiles of zeros on the RTL: equal to the golden model, and the tiles cost no cycles, whatever else their panel
holds."""

import numpy as np
import pytest

from weft import workloads
from weft.hw.config import Config
from weft.hw.isa import BY_OPCODE, decode
from weft.sim.compare import run_both

#: Several K tiles in a panel, and several N tiles.
CONFIGS = {"8x12": Config(rows=8, cols=12, four_bit=True, circulant=(4,)), "8x4": Config(rows=8, cols=4)}


def cycles(machine, config, weights, share):
    """Cycles of a layer on the RTL, and the fields of its products."""
    image = workloads.gemm(48, 96, 96, config, weights=weights, zero_tiles=share)[0].image
    rng = np.random.default_rng(0)
    inputs = {b.name: rng.integers(0, 256, b.bytes, np.uint8) for b in image.buffers if b.kind == "input"}
    _, found = run_both(image, inputs, machine)
    decoded = (decode(word.tobytes()) for word in image.code.reshape(-1, 32))
    return found.stats["cycles"], [fields for i, fields in decoded if BY_OPCODE[i.opcode].mnemonic.startswith("MATMUL")]


@pytest.mark.parametrize("name, weights", [("8x12", "dense"), ("8x12", "w4g32"), ("8x12", "circulant:4"), ("8x4", "dense")])
def test_tiles_of_zeros_cost_no_cycles(rtl_machine, name, weights):
    config = CONFIGS[name]
    full, _ = cycles(rtl_machine(config), config, weights, 0.0)
    half, products = cycles(rtl_machine(config), config, weights, 0.5)
    assert half < 0.65 * full
    assert any(f["k_offset"] for f in products) == (config.k_tiles_per_panel > 1)
