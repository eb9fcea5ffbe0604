"""The numerics as properties: against exact fractions and against floating point."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weft.sim import numerics

int32 = st.integers(-2 ** 31, 2 ** 31 - 1)


@given(st.integers(-2 ** 40, 2 ** 40), st.integers(0, 31))
def test_rshift_rounds_half_up(x, n):
    assert numerics.rshift(x, n) == floor(Fraction(x, 2 ** n) + Fraction(1, 2))


@given(int32, st.integers(-2 ** 17, 2 ** 17 - 1), st.integers(1, 63), st.integers(-128, 127))
def test_requantize_is_one_rounding(x, mult, shift, zero):
    exact = floor(Fraction(x * mult, 2 ** shift) + Fraction(1, 2)) + zero
    assert numerics.requantize(x, mult, shift, 0, zero) == exact


@given(int32, st.integers(0, 40))
def test_rescaled(x, distance):
    exact = floor(Fraction(x, 2 ** distance) + Fraction(1, 2)) if distance <= 31 else 0
    assert numerics.rescaled(x, distance) == exact


@given(st.lists(st.integers(-400, 400), max_size=20))
def test_clamp(values):
    out = numerics.clamp(np.array(values, np.int64), "int8")
    assert out.tolist() == [max(-128, min(127, v)) for v in values]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_softmax_blocks_are_close_to_float(data):
    keys, blocks = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 4))
    z = data.draw(hnp.arrays(np.int64, (blocks, 1, keys), elements=st.integers(-600, 600)))
    visible = data.draw(hnp.arrays(bool, (blocks, 1, keys)))
    state = numerics.SoftmaxState((1,))
    weighted = np.zeros(1)
    values = np.linspace(-1, 1, keys)
    for block in range(blocks):
        p, distance = numerics.softmax_block(z[block], visible[block], state)
        assert not p[~visible[block]].any()
        weighted = weighted * (2.0 ** -distance if distance[0] < 32 else 0) + p @ values
    flat, seen = z.reshape(-1), visible.reshape(-1)
    if not seen.any():
        assert state.l[0] == 0 and numerics.softmax_division(state.l, 1000, 10)[0][0] == 0
        return
    exponent = np.where(seen, 2.0 ** ((flat - flat[seen].max()) / 32), 0)
    wanted = exponent @ np.tile(values, blocks) / exponent.sum()
    found = weighted[0] * 128 / state.l[0]
    # Probabilities have 8 bits below the integer ceiling of the maximum.
    assert abs(found - wanted) < 0.02 * max(1, np.sqrt(seen.sum()))


def test_all_masked_then_visible():
    state = numerics.SoftmaxState((1,))
    numerics.softmax_block(np.array([[500, 600]]), np.array([[False, False]]), state)
    assert state.m[0] == numerics.EMPTY and state.l[0] == 0
    p, distance = numerics.softmax_block(np.array([[-64, -64]]), np.array([[True, True]]), state)
    assert p.tolist() == [[255, 255]] and distance[0] == 0 and state.l[0] == 2 * 32768


@given(st.integers(1, 2 ** 32 - 1), st.integers(1, 2 ** 17 - 1), st.integers(1, 31))
def test_division_is_precise(l, mult, shift):
    mr, s = numerics.softmax_division(np.array([l]), mult, shift)
    found, wanted = Fraction(int(mr[0]), 2 ** int(s[0])), Fraction(mult, l * 2 ** shift) * 2 ** 0
    # MR * 2^-S = M * 2^-s / l * (1 +- 2^-16), but for the rounding of MR to an integer.
    assert abs(found - wanted) <= wanted / 2 ** 15 + Fraction(1, 2 ** int(s[0]))


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.integers(-32768, 32767)),
       st.booleans())
def test_norm_is_close_to_float(x, rms):
    features = x.shape[1]
    s1, y1, sh = numerics.norm_stats(x, features, 1, rms)
    mean = 0 if rms else x.mean(axis=1, keepdims=True)
    deviation = np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + 1 / features ** 2)
    wanted = np.clip((x - mean) / deviation, -128, 127.99)
    found = numerics.normalize(x, s1, y1, sh, features, 1, 0, 0, 0) / 4096
    assert np.allclose(found, wanted, rtol=2 ** -13, atol=2 ** -11)


def test_norm_of_a_constant_row_is_zero():
    x = np.full((1, 8), 1234)
    s1, y1, sh = numerics.norm_stats(x, 8, 0)
    assert (y1[0], sh[0]) == (0, 4)
    assert not numerics.normalize(x, s1, y1, sh, 8, 1000, 4, 0, 0).any()


@given(st.integers(1, 2 ** 59 - 1))
def test_reciprocal_root(v):
    # A variance made of eps alone.
    _, y1, sh = numerics.norm_stats(np.zeros((1, 4)), 4, v)
    # xhat has 12 fraction bits: y1 * 2^-sh = 2^12 / sqrt(V).
    assert float(y1[0]) * 2.0 ** -int(sh[0]) == pytest.approx(2.0 ** 12 / v ** 0.5, rel=2 ** -13)
