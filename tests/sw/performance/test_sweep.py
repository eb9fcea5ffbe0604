"""Tilings are found, not fitted to the benches' shapes: other sizes and configurations come as close to the limit.

Utilization by the performance model (`test_model.py` compares it with the RTL), beside the goal of the nearest row of
`weft bench table`, from which it may be five points away. Tiles are not counted as work where they are padding, so sizes
are multiples of the arrays'; what makes a shape differ is whether it fits the memories, how long the bus is busy, and how
short the products are.
"""

import itertools

import numpy as np
import pytest

from weft import workloads
from weft.bench.table import ROWS
from weft.hw.config import Config
from weft.performance import predict
from weft.sim.rtl import RtlMachine

CONFIGS = {"base": Config.named("base"), "8x8": Config(rows=8, cols=8), "8x16": Config(rows=8, cols=16),
           "32x16": Config(rows=32, cols=16)}
POINTS = 0.05
#: Cycles of the reference memory.
LATENCY = 64
GOALS = {row.name: row.goal for row in ROWS}
#: Rows of the table, and shapes near them.
SWEEPS = {
    "GEMM 128x768x768": ("gemm", [(64, 384, 384), (160, 256, 384)]),
    "GEMM 128x256x256": ("gemm", [(128, 192, 256)]),
    "attention, 12 heads, 512 tokens, d = 64": ("attention", [(2, 384, 64)]),
    "causal attention, 12 heads, 512 tokens, d = 64": ("causal", [(2, 384, 64), (2, 256, 128)]),
    "attention, 12 heads, 128 tokens, d = 32": ("attention", [(12, 64, 32), (12, 96, 32), (12, 128, 32), (12, 160, 32),
                                                                  (8, 128, 64)]),
}
CASES = [(row, kind, shape, name) for (row, (kind, shapes)), name in itertools.product(SWEEPS.items(), CONFIGS)
         for shape in shapes]
# Small arrays have many tiles, which takes long to lower: larger arrays get these shapes, the small ones others of each kind.
LONG = [case for case in CASES if case[2] in ((2, 384, 64), (12, 128, 32), (12, 160, 32)) and case[3] in ("8x8", "8x16")]


def program(kind, shape, config):
    """``(image, MACs)``."""
    if kind == "gemm":
        made = workloads.gemm(*shape, config)[0]
    else:
        made = workloads.attention(*shape, config, causal=kind == "causal")[0]
    return made.image, made.macs


def causal_bound(heads, seq, dim, config):
    """Share of the peak that causal attention can reach on any schedule: tiles on the diagonal are computed whole, as no
    fewer keys than a tile has (`cols` of scores, `rows` of the context) can be left out, and the memory's latency passes
    before the first instruction, before the first operand, and behind the last write."""
    tiles = -(-dim // config.rows) * sum(range(seq, 0, -config.cols)), -(-dim // config.cols) * sum(range(seq, 0, -config.rows))
    return heads * seq * (seq + 1) * dim / (config.rows * config.cols * (heads * sum(tiles) + 3 * LATENCY))


def goal(row, kind, shape, config):
    """Of the nearest row, where the shape can reach it at all."""
    return min(GOALS[row], causal_bound(*shape, config)) if kind == "causal" else GOALS[row]


@pytest.mark.parametrize("cases", [[case for case in CASES if case not in LONG], pytest.param(LONG, marks=pytest.mark.large)],
                         ids=["short", "long"])
def test_other_shapes_are_within_five_points_of_the_nearest_row(cases):
    found = []
    for row, kind, shape, name in cases:
        config = CONFIGS[name]
        image, macs = program(kind, shape, config)
        utilization = macs / (config.rows * config.cols * predict(image).cycles)
        aim = goal(row, kind, shape, config)
        found.append((utilization - aim, f"{kind} {shape} on {name}: {utilization:.1%}, {row}: {aim:.1%}"))
    print("\n".join(text for _, text in sorted(found)[:5]))
    assert min(found)[0] > -POINTS, min(found)[1]


@pytest.mark.large
@pytest.mark.parametrize("name", CONFIGS)
def test_the_rtl_agrees(name):
    config = CONFIGS[name]
    machine = RtlMachine(config)
    for row, kind, shape, _ in [case for case in CASES if case[3] == name]:
        image, macs = program(kind, shape, config)
        inputs = {b.name: np.zeros(b.bytes, np.uint8) for b in image.buffers if b.kind == "input"}
        cycles = machine.run(image, inputs).stats["cycles"]
        assert abs(predict(image).cycles - cycles) <= 0.03 * cycles, (row, kind, shape)
