"""4-bit weights: exact expansion, limits, and errors smaller than those of rounding alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.quantize.formats import layer_weights
from weft.quantize.four_bit import quantize_four_bit


def problem(n, k, seed, rows=200):
    rng = np.random.default_rng(seed)
    inputs = np.round(rng.normal(size=(rows, k)) @ rng.normal(size=(k, k)) / k**0.5 * 20)
    weight = rng.normal(size=(n, k)) * np.exp(rng.normal(size=(n, 1))) * np.exp(0.5 * rng.normal(size=(1, k)))
    return weight, rng.normal(size=n), inputs


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 6), k=st.integers(1, 100), group=st.integers(16, 128), seed=st.integers(0, 999))
def test_the_integers_expand_exactly_and_stay_in_their_ranges(n, k, group, seed):
    weight, bias, inputs = problem(n, k, seed, 30)
    q, step, form = layer_weights(weight, bias, inputs, f"w4g{group}")
    assert q.dtype == np.int8 and np.array_equal(q, form.expand())
    assert form.values.dtype == np.int8 and form.values.min() >= -8 and form.values.max() <= 7
    assert form.scales.shape == (n, -(-k // group)) and form.scales.min() >= 1 and form.scales.max() <= 15
    assert form.group == group and (step > 0).all() and np.abs(q).max() <= 120


def nearest(weight, group):
    """Rounding each weight by itself: the largest of a group is the largest value, scales rounded up."""
    tiles = weight.reshape(len(weight), -1, group)
    peaks = np.abs(tiles).max(2, keepdims=True)
    step = peaks.max(1, keepdims=True) / 105
    unit = np.ceil(peaks / 7 / step).clip(1, 15) * step
    return (np.round(tiles / unit).clip(-8, 7) * unit).reshape(weight.shape)


@pytest.mark.parametrize("group", [16, 32, 64])
def test_outputs_are_nearer_than_by_rounding_alone(group):
    weight, bias, inputs = problem(48, 128, 3, 1000)
    form, step = quantize_four_bit(weight, bias, inputs, group)

    def error(changed):
        return float((((changed - weight) @ inputs.T) ** 2).mean() / ((weight @ inputs.T) ** 2).mean())

    assert error(form.expand() * step[:, None]) < 0.5 * error(nearest(weight, group))


def test_small_groups_are_finer_than_large_ones():
    weight, bias, inputs = problem(32, 128, 4, 1000)
    errors = []
    for group in (16, 64, 128):
        form, step = quantize_four_bit(weight, bias, inputs, group)
        errors.append(float((((form.expand() * step[:, None] - weight) @ inputs.T) ** 2).mean()))
    assert errors == sorted(errors)


def test_a_large_bias_fits_and_zero_weights_stay_zero():
    weight, bias, inputs = problem(3, 32, 5)
    bias[0] = 1e12
    weight[2] = 0
    form, step = quantize_four_bit(weight, bias, inputs, 32)
    assert abs(bias[0]) / step[0] <= 2**30 and not form.values[2].any()
