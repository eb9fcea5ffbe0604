"""The integer numerics of the accelerator as NumPy functions; ``sim/README.md`` gives the formulas.

Used by the golden model and by the quantized-graph executor. Everything is exact: int64 inside, no floating point.
"""

import numpy as np

__all__ = ["RANGES", "clamp", "rshift", "requantize", "without_constants", "exp2_table", "SoftmaxState", "softmax_block",
           "softmax_division", "rescaled", "norm_stats", "normalize", "EMPTY"]

#: Inclusive range of each element type.
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
#: Running maximum of a row that has not seen a visible key.
EMPTY = -(1 << 11)

#: 2^-f/32 in Q15: the mantissas of the exponential.
exp2_table = np.floor(2.0 ** 15 * 2.0 ** (-np.arange(32) / 32) + 0.5).astype(np.int64)
_rsqrt_table = np.minimum(65535, np.floor(2.0 ** 31 / np.sqrt((np.arange(64, 256) + 0.5) * 2.0 ** 24) + 0.5)).astype(np.int64)


def clamp(y, kind):
    """Saturates to the range of ``kind`` ("int8", "uint8" or "int16")."""
    return np.clip(y, *RANGES[kind])


def rshift(x, n):
    """Right shift of int64 ``x`` by ``n`` >= 0 (broadcast), rounding half up."""
    x, n = np.asarray(x, np.int64), np.asarray(n, np.int64)
    return (x + np.where(n > 0, np.left_shift(np.int64(1), np.maximum(n - 1, 0)), 0)) >> n


def requantize(x, mult, shift, bias=0, zero=0):
    """``(((x + bias) * mult + half) >> shift) + zero`` in int64, not clamped; parameters broadcast over channels."""
    x = np.asarray(x, np.int64) + np.asarray(bias, np.int64)
    return rshift(x * np.asarray(mult, np.int64), shift) + np.asarray(zero, np.int64)


def without_constants(x, shift):
    """Sources ``x`` of REQUANT, 0 in constant channels: those whose record's ``shift`` (broadcast) is 0."""
    return np.where(np.asarray(shift) == 0, 0, x)


def rescaled(x, distance):
    """``x`` shifted right by ``distance`` with rounding; 0 beyond 31."""
    distance = np.asarray(distance, np.int64)
    return np.where(distance > 31, 0, rshift(x, np.minimum(distance, 31)))


class SoftmaxState:
    """State of query rows between key blocks: ``m`` (EMPTY before the first visible key) and ``l``, int64[shape]."""

    def __init__(self, shape):
        self.m = np.full(shape, EMPTY, np.int64)
        self.l = np.zeros(shape, np.int64)


def softmax_block(z, visible, state):
    """One key block for every row; updates ``state``.

    Parameters: ``z`` int[..., keys] scores with 5 fraction bits, ``visible`` bool[..., keys] (broadcast),
    ``state`` for the leading shape.

    Returns ``(P, distance)``: probabilities uint8[..., keys] and the rows' rescale int64[...].
    """
    z = np.asarray(z, np.int64)
    visible = np.broadcast_to(visible, z.shape)
    mx = np.where(visible, (z + 31) >> 5, EMPTY).max(axis=-1, initial=EMPTY)
    m = np.maximum(state.m, mx)
    distance = np.where((state.m == EMPTY) | (m == EMPTY), 0, np.minimum(m - state.m, 32))
    t = np.where(visible, 32 * m[..., None] - z, 32 << 5)
    i = t >> 5
    e = np.where(visible & (i <= 31), rshift(exp2_table[t & 31], np.minimum(i, 31)), 0)
    state.l = rescaled(state.l, distance) + e.sum(axis=-1)
    state.m = m
    return np.minimum(255, (e + 64) >> 7).astype(np.uint8), distance


def softmax_division(l, mult, shift):
    """``(MR, S)`` int64[...] of the rows' sums ``l``: multiplier and shift that divide the context by the sum."""
    l = np.asarray(l, np.int64)
    b = np.zeros_like(l)
    for n in range(1, 33):
        b = np.where(l >> n > 0, n, b)
    normalized = np.maximum(l, 1) << (31 - np.minimum(b, 31))
    reciprocal = ((1 << 47) + (normalized >> 1)) // normalized
    return (np.where(l > 0, (reciprocal * np.int64(mult) + (1 << 15)) >> 16, 0),
            np.where(l > 0, np.int64(shift) + b, 1))


def norm_stats(x, features, eps, rms=False):
    """Row statistics ``(S1, y1, sh)`` int64[rows] of ``x`` int16[rows, channels]; channels beyond ``features`` are 0."""
    x = np.asarray(x, np.int64)
    s1 = np.zeros(x.shape[:-1], np.int64) if rms else x.sum(axis=-1)
    s2 = (x * x).sum(axis=-1)
    v = np.int64(features) * s2 - s1 * s1 + np.int64(eps)
    k = np.zeros_like(v)
    for n in range(1, 31):
        k = np.where(v >> (2 * n) > 0, n, k)
    scaled = np.where(k <= 15, v << np.maximum(30 - 2 * k, 0), v >> np.maximum(2 * k - 30, 0))
    y0 = _rsqrt_table[np.clip((scaled >> 24) - 64, 0, 191)]
    # v < 2^32 and y0 * y0 >> 14 <= 2^18, so the product stays below 2^50.
    p = (scaled * ((y0 * y0) >> 14)) >> 32
    y1 = np.minimum(65535, (y0 * (196608 - p)) >> 17)
    return s1, np.where(v > 0, y1, 0), np.where(v > 0, k + 4, 4)


def normalize(x, s1, y1, sh, features, mult, shift, bias, zero):
    """``xhat`` times gamma plus beta, not clamped: int64[rows, channels] from int16 rows and their statistics."""
    c = np.int64(features) * np.asarray(x, np.int64) - s1[..., None]
    xhat = np.clip(rshift(c * y1[..., None], sh[..., None]), -(1 << 19), (1 << 19) - 1)
    y = xhat * np.asarray(mult, np.int64) + np.asarray(bias, np.int64)
    return rshift(y, shift) + np.asarray(zero, np.int64)
