"""From real factors to the integers of the hardware: multipliers, shifts, weights, biases."""

import numpy as np

from weft.hw.errors import CompileError
from weft.qgraph import DTYPES, Rescale

__all__ = ["LOG2E", "multiplier", "linear_rescale", "norm_rescale", "scalar_multiplier", "quantize_array",
           "quantize_weights", "check_accumulator"]

LOG2E = 1.4426950408889634
_MULT_MAX = 131071
_SHIFT_MAX = 47
#: Numbers that are quantized at once.
_BLOCK = 1 << 17


def multiplier(factor, low=2**16, shift_max=_SHIFT_MAX):
    """Integers ``(mult, shift)`` with ``mult * 2**-shift`` close to each real ``factor`` (float64[N], any sign).

    ``mult`` has its magnitude in [low, 2*low) as far as shift stays in 1..shift_max.
    """
    factor = np.asarray(factor, np.float64)
    magnitude = np.maximum(np.abs(factor), 2.0**-200)
    shift = np.clip(np.floor(np.log2(low * 2 - 1) - np.log2(magnitude)), 1, shift_max).astype(np.int64)
    mult = np.floor(factor * 2.0**shift + 0.5)
    if np.any(np.abs(mult) > _MULT_MAX):
        raise CompileError(f"a rescaling factor of {float(np.abs(factor).max()):.3g} is beyond the multiplier's range "
                           f"(65535)")
    return mult.astype(np.int32), shift.astype(np.int32)


def scalar_multiplier(factor, low=2**15, shift_max=_SHIFT_MAX):
    """``(mult, shift)`` as ints for one positive factor, mult in [low, 2*low)."""
    mult, shift = multiplier(np.array([factor]), low, shift_max)
    return int(mult[0]), int(shift[0])


def linear_rescale(factor, bias, dtype, zero=0):
    """Rescale of accumulators (bias before the product): ``factor`` float64[N], ``bias`` int64[N]."""
    mult, shift = multiplier(factor)
    return Rescale(np.asarray(bias).astype(np.int32), mult, shift, dtype, int(zero))


def norm_rescale(gamma, beta, scale, dtype, zero=0):
    """Rescale of a norm's xhat (12 fraction bits) to ``gamma * xhat + beta`` in units of ``scale``."""
    gamma, beta, scale = (np.asarray(t, np.float64) for t in (gamma, beta, scale))
    low, high = DTYPES[dtype]
    limit = 16 if dtype == "int16" else 23
    # A beta beyond the output's range saturates either way; clipped, its product still fits 32 bits.
    offset = np.clip(beta / scale, 2 * low, 2 * high) + np.zeros_like(gamma)
    room = np.floor(np.log2((2.0**31 - 1) / np.maximum(np.abs(offset), 1.0)))
    factor = gamma / 4096 / scale
    magnitude = np.maximum(np.abs(factor), 2.0**-200)
    shift = np.clip(np.minimum(np.floor(np.log2(_MULT_MAX) - np.log2(magnitude)), room), 1, limit)
    mult = np.floor(factor * 2.0**shift + 0.5)
    if np.any(np.abs(mult) > _MULT_MAX):
        raise CompileError(f"a norm weight of {float(np.abs(gamma).max()):.3g} is beyond the multiplier's range")
    bias = np.floor(offset * 2.0**shift + 0.5)
    return Rescale(bias.astype(np.int32), mult.astype(np.int32), shift.astype(np.int32), dtype, int(zero))


def _blocks(rows, columns):
    """Ranges of rows that are computed together: what they need stays in the processor's caches, and a vocabulary's
    weights in float64 never exist as a whole."""
    step = max(8, _BLOCK // max(columns, 1) // 8 * 8)
    return [slice(start, start + step) for start in range(0, rows, step)]


def quantize_array(values, scale, dtype, zero=0):
    """Round half up to integers of ``dtype``: ``clamp(floor(values / scale + 1/2) + zero)``; ``scale``: one number or
    one of each feature."""
    low, high = DTYPES[dtype]
    values = np.asarray(values)
    result = np.empty(values.shape, dtype)
    for rows in _blocks(len(values), values[:1].size):
        q = np.floor(values[rows].astype(np.float64) / scale + 0.5) + zero
        result[rows] = np.clip(q, low, high)
    return result


def quantize_weights(weight, bias, energy=None, ratios=(1.0, 0.96, 0.92, 0.88, 0.84)):
    """Symmetric int8 weights per output channel.

    ``weight`` float64[N, K] already absorbs the scales of its input; ``bias`` float64[N]; ``energy`` float64[K]
    (mean square of each input in its integer units) weighs the search for the clipping ratio.

    Returns ``(q int8[N, K], scale float64[N])``; scales are large enough for the bias to fit 2**30.
    """
    q, scale = np.empty(weight.shape, np.int8), np.empty(len(weight))
    energy = np.ones(weight.shape[1]) if energy is None else energy
    for rows in _blocks(*weight.shape):
        q[rows], scale[rows] = _quantize_channels(weight[rows], bias[rows], energy, ratios)
    return q, scale


def _quantize_channels(weight, bias, energy, ratios):
    peak = np.abs(weight).max(1)
    floor = np.maximum(np.abs(bias) / 2.0**29, 1e-30)
    best = np.full(len(weight), np.inf)
    scale = np.maximum(peak / 127, floor)
    for ratio in ratios:
        candidate = np.maximum(peak * ratio / 127, floor)
        error = (_rounded(weight, candidate) * candidate[:, None] - weight) ** 2 @ energy
        better = error < best
        best[better], scale[better] = error[better], candidate[better]
    return _rounded(weight, scale), scale


def _rounded(weight, scale):
    return np.clip(np.floor(weight / scale[:, None] + 0.5), -127, 127)


def check_accumulator(weight, bias, dtype, origin):
    """Prove that no accumulation of int8 weights ``[N, K]`` with ``dtype`` inputs and this bias leaves int32."""
    largest = np.abs(weight.astype(np.int16)).sum(1, dtype=np.int64)
    reach = largest * (255 if dtype == "uint8" else 128) + np.abs(bias.astype(np.int64))
    if np.any(reach >= 2**31):
        raise CompileError(f"the accumulator of a linear layer with {weight.shape[1]} inputs may reach "
                           f"{int(reach.max())}, beyond int32, at {origin}")
