"""Scales of an attention's 8-bit operands: queries with keys, values with the attention's result."""

from dataclasses import dataclass

import numpy as np

from weft.quantize.search import fit_range, rounded

__all__ = ["ScoreScales", "score_scales", "value_scales"]

# Sample rows of queries and of keys whose scores are compared.
_ROWS = 256


@dataclass(frozen=True)
class ScoreScales:
    """``q`` float64[heads * head_dim], ``k`` float64[kv_heads * head_dim]; each feature's product is ``product``."""

    q: np.ndarray
    k: np.ndarray
    product: float


def score_scales(q, k, v, op, options):
    """`ScoreScales` of int8 queries and keys of attention ``op`` (`FAttention`), observed with its values as ``q, k, v``.

    One multiplier serves all scores, so ``scale_q[h, c] * scale_k[g(h), c]`` is one constant. What is free is how
    each feature's range is shared between q and k: in the ratio ``(peak_q[c] / peak_k[c]) ** a``. With a = 1 no product of
    features has less than its share, with a = 0 q and k have one scale each. ``options`` choose the exponent and
    the range by the error of the attention's result, each sample row of q attending to all those of k.
    """
    kv_heads, d = op.kv_heads, op.head_dim
    group = op.heads // kv_heads
    q_peak = q.peak.reshape(kv_heads, group, d).max(1)
    k_peak = k.peak.reshape(kv_heads, d)
    floor = max(q_peak.max(), k_peak.max(), 1e-12) * 1e-3
    q_peak, k_peak = np.maximum(q_peak, floor), np.maximum(k_peak, floor)
    queries = q.rows[:_ROWS].reshape(-1, kv_heads, group, d).transpose(1, 2, 0, 3).reshape(kv_heads, -1, d)
    keys = k.rows[:_ROWS].reshape(-1, kv_heads, d).transpose(1, 2, 0)
    values = v.rows[:_ROWS].reshape(-1, kv_heads, d).transpose(1, 0, 2)

    def result(scores):
        scores = scores * op.scale
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights @ values / weights.sum(-1, keepdims=True)

    wanted = result(queries @ keys)

    def attempt(exponent, share):
        balance = (q_peak / k_peak) ** (exponent or 0.0)
        first, second = np.sqrt(balance), 1 / np.sqrt(balance)
        if share is None:
            most = [np.percentile(np.abs(rows) / scale, options.percentile)
                    for rows, scale in ((queries, first[:, None]), (keys, second[:, :, None]))]
        else:
            most = [(q_peak / first).max() * share**0.5, (k_peak / second).max() * share**0.5]
        most = np.maximum(most, 1e-12) / 127
        first, second = first * most[0], second * most[1]
        got = result(rounded(queries, first[:, None].astype(np.float32))
                     @ rounded(keys, second[:, :, None].astype(np.float32)))
        scales = ScoreScales(first[:, None].repeat(group, 1).reshape(-1), second.reshape(-1), float(most[0] * most[1]))
        return float(((got - wanted) ** 2).sum()), scales

    return fit_range(options, (*options.strengths, 1.0), attempt)


def value_scales(v, result, layers, op, options):
    """``(values float64[kv_heads * head_dim], result float64[heads * head_dim])``: int8 scales of attention ``op``.

    The result has the scales of the values times one constant, so that one multiplier serves all features, and the layers
    that read it absorb them. ``v``, ``result``: what calibration saw; ``layers``: weights float32[N, heads * head_dim] of
    those layers. Feature c has the scale ``peak[c]**a / max|W[:, c]|**(1-a)`` times a constant; ``options`` choose a and
    the range by the error of the layers' outputs, to which the values' errors come as averaged as the values.
    """
    kv_heads, d = op.kv_heads, op.head_dim
    group = op.heads // kv_heads
    peak = np.maximum(v.peak, max(v.peak.max(), 1e-12) * 1e-3)

    def spread(values):
        heads = values.reshape(*values.shape[:-1], kv_heads, 1, d).repeat(group, -2)
        return heads.reshape(*values.shape[:-1], op.heads * d)

    def scales(factor, share):
        most = (peak / factor).max() * share if share is not None else \
            max(np.percentile(np.abs(v.rows) / factor, options.percentile), 1e-12)
        scale = factor * (most / 127)
        wide = spread(scale)
        ratio = float((result.peak / (127 * wide)).max())
        return scale, wide * min(1.0, max(1.05 * ratio, 2.0**-6))

    if not layers:
        return scales(peak, 1.0)
    stacked = np.concatenate([np.asarray(w, np.float32) for w in layers])
    reach = np.abs(stacked).max(0).reshape(kv_heads, group, d).max(1).reshape(-1)
    reach = np.maximum(reach, max(reach.max(), 1e-12) * 1e-3)
    rows, values = result.rows[:_ROWS].astype(np.float32), spread(v.rows[:_ROWS].astype(np.float32))
    wanted, alone = rows @ stacked.T, values @ stacked.T
    averaging = min(1.0, float((rows**2).mean()) / max(float((values**2).mean()), 1e-30))

    def attempt(exponent, share):
        factor = np.ones_like(peak) if exponent is None else peak**exponent / reach ** (1 - exponent)
        scale, out = scales(factor, share)
        absorbed = stacked * out.astype(np.float32)
        step = np.maximum(np.abs(absorbed).max(1, keepdims=True), 1e-30) / 127
        weight = (rounded(absorbed, step) / out.astype(np.float32)).T
        error = ((rounded(rows, out.astype(np.float32)) @ weight - wanted) ** 2).mean()
        own = ((rounded(values, spread(scale).astype(np.float32)) @ stacked.T - alone) ** 2).mean()
        return float(error + averaging * own), (scale, out)

    return fit_range(options, (*options.strengths, 1.0), attempt)
