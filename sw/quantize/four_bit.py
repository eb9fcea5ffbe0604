"""4-bit weights with 4-bit scales for groups of inputs, chosen for the least error of the layer's results.

The integers expand exactly to int8: ``weight8[n, k] = value[n, k] * scale[n, k // group]``, times one real step for each
output channel. Values follow GPTQ (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2023); a group's scale is one with little cost at the time its columns are rounded.
"""

import numpy as np
import torch

from weft.compensation import compensate
from weft.weights import GroupedWeights

__all__ = ["quantize_four_bit"]

_LEAST, _MOST, _SCALES = -8, 7, 15

# Ratios of a channel's step to the one with which the largest weight is the largest value at the largest scale.
_RATIOS = (1.2, 1.0, 0.85)

# Shares of a group's largest weight that the largest value may stand for.
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)


def _rounded(columns, unit):
    """``columns`` in multiples of ``unit``, clamped to 4 bits, as real values."""
    return torch.clamp(torch.floor(columns / unit + 0.5), _LEAST, _MOST) * unit


def _best_scales(columns, step, cost):
    """``(scale, error)`` float64[N] of each row of ``columns`` [N, width]: the scale of a few with the least error.

    ``cost`` [width] weighs squared errors.
    """
    fitting = columns.abs().amax(1) / (_MOST * step)
    best, scales = torch.full_like(fitting, torch.inf), torch.ones_like(fitting)
    for share in _SHARES:
        scale = torch.round(fitting * share).clamp(1, _SCALES)
        error = (_rounded(columns, (step * scale)[:, None]) - columns).square() @ cost
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
    return scales, best


def _steps(weight, floor, energy, group):
    """Step float64[N] of each channel: the one of a few with the least error if every weight were rounded by itself."""
    largest = (weight.abs().amax(1) / (_MOST * _SCALES)).clamp_min(floor)
    best, chosen = torch.full_like(largest, torch.inf), largest
    for ratio in _RATIOS:
        step = (largest * ratio).clamp_min(floor)
        error = sum(_best_scales(columns, step, cost)[1]
                    for columns, cost in zip(weight.split(group, 1), energy.split(group)))
        better = error < best
        best, chosen = torch.where(better, error, best), torch.where(better, step, chosen)
    return chosen


def quantize_four_bit(weight, bias, inputs, group, damping=0.1):
    """``(GroupedWeights, step float64[N])`` for ``weight`` float64[N, K] whose real values are ``step * integer``.

    ``bias`` float64[N], in whose units the integers must fit 2**30; ``inputs`` [rows, K]: typical inputs of the layer in the
    units that the weights multiply, zero point subtracted; ``group``: neighbouring inputs with one scale. ``damping``: as in
    `weft.compensation.compensate`; much, because calibration sees few rows.
    """
    weight = torch.from_numpy(np.ascontiguousarray(weight, np.float64))
    floor = torch.from_numpy(np.maximum(np.abs(np.asarray(bias, np.float64)) / 2.0**29, 1e-30))
    inputs = torch.from_numpy(np.ascontiguousarray(inputs, np.float64))
    moments = inputs.t() @ inputs
    step = _steps(weight, floor, moments.diagonal() / max(len(inputs), 1) + 1e-6, group)
    scales = torch.empty(len(weight), -(-weight.shape[1] // group), dtype=weight.dtype)

    def choose(start, columns, deviation):
        scale = _best_scales(columns, step, deviation**-2)[0]
        scales[:, start // group] = scale
        unit = step * scale
        return lambda k, column: _rounded(column, unit)

    real = compensate(weight, moments, group, choose, damping)
    units = (scales * step[:, None]).repeat_interleave(group, 1)[:, :weight.shape[1]]
    values = torch.round(real / units).to(torch.int8).numpy()
    return GroupedWeights(values, scales.to(torch.uint8).numpy(), group), step.numpy()
