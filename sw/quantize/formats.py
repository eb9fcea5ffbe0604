"""The integers of a linear layer's weights, by format and structure."""

import numpy as np

from weft.quantize import integers
from weft.quantize.four_bit import quantize_four_bit
from weft.weights import CirculantWeights, circulant_block, four_bit_group

__all__ = ["layer_weights"]


def layer_weights(weight, bias, seen, name, circulant=0):
    """``(int8[N, K], step float64[N], compressed form or None)`` of a layer's weights in the format ``name``.

    ``weight`` float64[N, K] absorbs the scales of its input; ``bias`` float64[N]; ``seen`` [rows, K]: typical integer
    inputs, zero point subtracted; ``name`` is one of `weft.quantize.options.WEIGHT_FORMATS`; ``circulant``: size of the
    circulant blocks that the weight consists of, 0 where it does not. A row of blocks has one step, and generators are
    int8 whatever the format.
    """
    group = four_bit_group(name)
    if group and not circulant:
        form, step = quantize_four_bit(weight, bias, seen, group)
        return form.expand(), step, form
    energy = (seen**2).mean(0) + 1e-6
    if not circulant or not circulant_block(weight, (circulant,)):
        return *integers.quantize_weights(weight, bias, energy), None
    # Each generator meets every input of its block once, so the blocks' first columns are quantized in their stead.
    generators = CirculantWeights.of(weight, circulant).generators
    rows, columns, block = generators.shape
    q, step = integers.quantize_weights(generators.reshape(rows, -1), np.abs(bias).reshape(rows, -1).max(1),
                                        energy.reshape(columns, block).mean(1).repeat(block))
    form = CirculantWeights(q.reshape(generators.shape))
    return form.expand(), step.repeat(block), form
