"""Counting multiplications by zero."""

import numpy as np
import pytest

from weft import workloads
from weft.hw.config import Config
from weft.sim.golden import products

CONFIG = Config(rows=5, cols=7)


def test_a_product_by_hand():
    """Of 9 x 20 times 20 x 12, padded to whole tiles: all but what two nonzero numbers meet in."""
    program, (a,), _ = workloads.gemm(9, 20, 12, CONFIG, zero_tiles=0.4)
    a[:, ::3] = 0
    stats = program.run((a,)).stats
    assert stats.macs + stats.skipped_macs == 9 * 20 * 12 and stats.skipped_macs > 0
    weight = gemm_weight()
    assert stats.array_macs - stats.gated_macs == int(((a != 0).sum(0) * (weight != 0).sum(0)).sum())


def gemm_weight():
    """The weights of the product, drawn as it draws them: int8[n, k]."""
    rng = np.random.default_rng(0)
    layer = workloads._linear("a", "result", 9, 20, 12, workloads._UNIFORM, rng, "gemm")
    return workloads._zeroed(layer, 0.4, CONFIG.cols, CONFIG.rows, rng).weight


@pytest.mark.parametrize("made", [lambda: workloads.mha(2, 11, 24, 10, CONFIG),
                                  lambda: workloads.attention(2, 11, 10, CONFIG, causal=True)], ids=["mha", "causal"])
def test_whole_programs_against_counting_one_by_one(monkeypatch, made):
    program, args, kwargs = made()
    met, multiply = [], products.Product._multiply

    def counted(self, state, rectangle):
        a = self._moving(state, rectangle)
        w = self._stationary(state, rectangle) if rectangle.matrix is None else rectangle.matrix.values[None]
        met.append(((a[..., None] != 0) & (w[:, None] != 0)).sum())
        return multiply(self, state, rectangle)

    monkeypatch.setattr(products.Product, "_multiply", counted)
    stats = program.run(args, kwargs).stats
    assert 0 < stats.gated_macs == stats.array_macs - sum(met) < stats.array_macs
    # Nobody pays for what nobody asked for.
    assert program.run_many([(args, kwargs)])[0].stats.gated_macs is None


def test_each_of_a_batch_has_its_own():
    program, (a,), _ = workloads.gemm(9, 20, 12, CONFIG)
    half = a * (np.arange(20) < 10)
    alone = [program.run((x,)).stats.gated_macs for x in (a, half, 0 * a)]
    assert [r.stats.gated_macs for r in program.run_many([((x,), None) for x in (a, half, 0 * a)], count=True)] == alone
    assert alone[0] < alone[1] < alone[2] == program.run((a,)).stats.array_macs
