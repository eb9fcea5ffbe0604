"""The integers of a linear layer's weights, by format and structure."""

import numpy as np

from weft.quantize import integers
from weft.quantize.four_bit import quantize_four_bit
from weft.weights import SPARSITIES, CirculantWeights, circulant_block, circulant_misfit, four_bit_group, sparsity_misfit

__all__ = ["layer_weights", "misfit"]


def _block(name):
    """Size of the blocks of "circulant:N", 0 of other formats."""
    return int(name.removeprefix("circulant:")) if name.startswith("circulant:") else 0


def misfit(weight, name, circulant=0, quantized=False):
    """Why a layer's weights [N, K], NumPy or torch, cannot have the format ``name``, in words; "" where they can.

    ``circulant``: as in `layer_weights`; ``quantized``: they are integers times steps of their own.
    """
    if name in SPARSITIES:
        return sparsity_misfit(weight, name) or ""
    if name != "w8" and quantized:
        return "it comes quantized, with int8 weights of its own"
    if _block(name):
        return circulant_misfit(weight, _block(name)) or ""
    if name != "w8" and circulant:
        return f"its weights are circulant blocks of {circulant}, whose generators are int8"
    return ""


def layer_weights(weight, bias, seen, name, circulant=0):
    """``(int8[N, K], step float64[N], compressed form or None)`` of a layer's weights in the format ``name``.

    ``weight`` float64[N, K] absorbs the scales of its input; ``bias`` float64[N]; ``seen`` [rows, K]: typical integer
    inputs, zero point subtracted; ``name`` is one of `weft.quantize.options.WEIGHT_FORMATS`; ``circulant``: size of the
    circulant blocks that the weight consists of, 0 where it does not. A row of blocks has one step, and generators are
    int8 whatever the format. Weights that do not have the structure of ``name`` (`misfit`) are as of "w8".
    """
    group = four_bit_group(name)
    if group and not circulant:
        form, step = quantize_four_bit(weight, bias, seen, group)
        return form.expand(), step, form
    energy = (seen**2).mean(0) + 1e-6
    circulant = 0 if name in SPARSITIES and not misfit(weight, name) else next(
        (block for block in (_block(name), circulant) if block and circulant_block(weight, (block,))), 0)
    if not circulant:
        return *integers.quantize_weights(weight, bias, energy), None
    # Each generator meets every input of its block once, so the blocks' first columns are quantized in their stead.
    generators = CirculantWeights.of(weight, circulant).generators
    rows, columns, block = generators.shape
    q, step = integers.quantize_weights(generators.reshape(rows, -1), np.abs(bias).reshape(rows, -1).max(1),
                                        energy.reshape(columns, block).mean(1).repeat(block))
    form = CirculantWeights(q.reshape(generators.shape))
    return form.expand(), step.repeat(block), form
