"""Searches that choose scales by the error they leave in what is computed next."""

from dataclasses import dataclass

import numpy as np
import torch

from weft.hw.errors import CompileError

__all__ = ["Table", "fit_range", "migrated_scale", "one_sided", "rounded", "table_for"]


def rounded(x, scale, low=-127, high=127):
    """``x`` after quantization with ``scale`` to integers from ``low`` to ``high``, and back."""
    return np.clip(np.floor(x / scale + 0.5), low, high) * scale


def fit_range(options, strengths, attempt):
    """The scale that calibration and migration of ``options`` choose; ``strengths``: exponents that a search tries.

    ``attempt(exponent, share)`` returns ``(error, scale)`` for an exponent of migration (None: none) and a share of the
    calibrated range; a share of None stands for the percentile.
    """
    # One after the other: the two choices hardly depend on each other, and a full grid takes three times as long.
    share = None if options.calibration == "percentile" else 1.0
    exponents = (None, *strengths) if options.migration == "search" else (options.migration or None,)
    if len(exponents) > 1:
        exponents = (min(exponents, key=lambda exponent: attempt(exponent, share)[0]),)
    shares = options.clips if options.calibration == "mse" else (share,)
    return min((attempt(exponents[0], share) for share in shares), key=lambda result: result[0])[1]


def migrated_scale(observed, weights, options, low=-127, high=127):
    """Scale per feature, float64[K], of the int8 input of linear layers ``weights`` (list of float32[N, K]).

    Outlier features get a larger scale, which the weights absorb (SmoothQuant): feature c is divided by
    ``peak[c]**a / max|W[:, c]|**(1-a)``. ``options`` (`weft.quantize.options.LayerOptions`) say how exponent and range are
    chosen; errors are those of the layers' outputs on the sample rows, their weights quantized as well. ``low``, ``high``:
    the integers' limits, zero point subtracted.
    """
    x = observed.rows[:384].astype(np.float32)
    reached = np.maximum(observed.high, observed.low * (high / low)) if low else observed.peak
    peak = np.maximum(reached, max(reached.max(initial=0), 1e-12) * 1e-4)
    stacked = np.concatenate([np.asarray(w, np.float32) for w in weights]) if weights else None
    if stacked is None or not len(x):
        return np.full(len(peak), peak.max(initial=1e-12) / high)
    wanted = x @ stacked.T
    power = np.concatenate([np.full(len(w), 1.0 / max(float((wanted[:, s:s + len(w)] ** 2).mean()), 1e-30))
                            for w, s in zip(weights, np.cumsum([0] + [len(w) for w in weights]))])
    reach = np.abs(stacked).max(0)
    reach = np.maximum(reach, max(reach.max(), 1e-12) * 1e-4)

    heard = power @ stacked.astype(np.float64) ** 2         # how much an error of each feature counts

    def attempt(strength, share):
        factor = np.ones_like(peak) if strength is None else peak**strength / reach ** (1 - strength)
        most = (peak / factor).max() * share if share is not None else \
            max(np.percentile(np.maximum(observed.rows, observed.rows * (high / low) if low else 0) / factor,
                              options.percentile), 1e-12)
        scale = factor * (most / high)
        absorbed = stacked * scale.astype(np.float32)
        step = np.maximum(np.abs(absorbed).max(1, keepdims=True), 1e-30) / 127
        quantized = np.clip(np.floor(x / scale.astype(np.float32) + 0.5), low, high)
        got = quantized @ (np.floor(absorbed / step + 0.5) * step).T
        error = float((((got - wanted) ** 2).mean(0) * power).sum())
        # The sample rows hardly ever hold a feature's largest value, whose clipping may outweigh all the rest.
        cut = np.maximum(peak - high * scale, 0)
        return error + float((heard * cut**2).sum()) / observed.count, scale

    return fit_range(options, options.strengths, attempt)


def one_sided(observed, weights):
    """``(sign float64[K], zero)``: the sign that turns each feature's larger side up, and the int8 zero point for them.

    Products of a gate and a value reach far on one side only, a different one for each feature. With all larger sides
    up and the zero point below the middle, both sides use their integers. The zero point is the one with the least
    rounding noise in the outputs of ``weights`` (list of float[N, K]) where every feature has its own scale.
    """
    sign = np.where(observed.high >= -observed.low, 1.0, -1.0)
    large, small = observed.peak, np.maximum(0, np.minimum(observed.high, -observed.low))
    heard = sum((np.asarray(w, np.float64) ** 2).sum(0) for w in weights)

    def noise(zero):
        return float((heard * np.maximum(large / (127 - zero), small / (128 + zero)) ** 2).sum())

    return sign, min(range(0, -113, -8), key=noise)


@dataclass
class Table:
    """An elementwise function as 256 entries: its int8 input's scale and zero point, its int8 output's."""

    values: np.ndarray
    in_scale: float
    in_zero: int
    out_scale: float
    out_zero: int


def _grid(least, most, zero=None):
    """Scale and zero point of int8 for the range least..most, which is widened to hold 0."""
    least, most = min(least, 0.0), max(most, 0.0)
    if zero is not None:
        return max(most / max(127 - zero, 1), least / min(-128 - zero, -1), 1e-12), zero
    scale = max(most - least, 1e-12) / 255
    return scale, int(np.clip(-128 - np.floor(least / scale + 0.5), -128, 127))


def _function(function, x):
    with torch.no_grad():
        return function(torch.from_numpy(np.asarray(x, np.float32))).double().numpy()


def table_for(function, observed, options, zeros=(None, None), out=None):
    """`Table` of an elementwise function for inputs like the observed ones.

    ``options`` (`LayerOptions`) say how the input range is chosen. With "mse" it is searched: where the function is flat (a
    GELU far below 0), clipping costs nothing and makes steps finer elsewhere. Elsewhere it is refused even where the mean error
    falls: the rare large values of a transformer's activations carry more than their share (clipping them by mean error ruins
    MiniLM's embeddings). ``zeros`` fixes the zero points of input and output, ``out`` scale and zero point of the output.
    """
    sample = observed.rows.reshape(-1)
    if len(sample) > 40000:
        sample = np.random.default_rng(0).choice(sample, 40000, replace=False)
    wanted = _function(function, sample)
    least, most = float(observed.low.min()), float(observed.high.max())
    if options.calibration == "percentile":
        least, most = np.percentile(observed.rows, [100 - options.percentile, options.percentile])
    ends = _function(function, [least, most])
    best, chosen = np.inf, None
    shares = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.28, 0.22) if options.calibration == "mse" else (1.0,)
    for low_share in shares if least < 0 else (1.0,):
        for high_share in shares[:6] if most > 0 else (1.0,):
            scale, zero = _grid(least * low_share, most * high_share, zeros[0])
            entries = _function(function, (np.arange(-128, 128) - zero) * scale)
            if not np.isfinite(entries).all():
                continue
            # Entries that calibration came nowhere near must not make the others coarser.
            near = entries[(low := max(0, int(np.floor(least / scale)) + zero + 128)):
                           max(low + 1, int(np.ceil(most / scale)) + zero + 129)]
            out_scale, out_zero = out or _grid(float(near.min()), float(near.max()), zeros[1])
            values = np.clip(np.floor(entries / out_scale + 0.5) + out_zero, -128, 127)
            index = np.clip(np.floor(sample / scale + 0.5) + zero, -128, 127).astype(np.int64) + 128
            error = float((((values[index] - out_zero) * out_scale - wanted) ** 2).mean())
            far = np.abs(entries[[0, -1]] - ends)
            flat = all(d <= out_scale or share == 1 for d, share in zip(far, (low_share, high_share)))
            if flat and error < best:
                best = error
                # The table is indexed by the byte of the int8 value: 0..127, then -128..-1.
                chosen = Table(np.roll(values, 128).astype(np.int8), scale, zero, out_scale, out_zero)
    if chosen is None:
        raise CompileError(f"an elementwise function is not finite between {least:.4g} and {most:.4g}, the range of its "
                           "input in calibration")
    return chosen
