"""Models that come quantized: q/dq pairs on activations and integer weights, as torchao's PT2E flow writes them.

A pair around a linear layer's input prescribes the layer's 8-bit input (`weft.frontend.graph.Given`). Weights that are
dequantized from int8, one scale for each output channel, keep their integers. Pairs anywhere else say how
another machine would store a tensor; this one keeps int16 there, and they change nothing.
"""

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const, Host

__all__ = ["HANDLERS", "weight"]

#: Zero points of tensors of this type, and their least value, as those of int8.
_SHIFTS = {torch.int8: 0, torch.uint8: 128}


def _number(value):
    return value.tensor.item() if isinstance(value, Const) else value


def _quantize(builder, node, x, scale, zero, least, most, dtype, **kwargs):
    if not isinstance(x, (Act, Host)):
        return x
    act = builder.plain(builder.activation(x))
    least, most = _number(least), _number(most)
    if dtype not in _SHIFTS or most - least > 255:
        raise builder.error(f"an activation quantized to {least} .. {most} is not supported; 8 bits are")
    shift = _SHIFTS[dtype]
    return Act(act.base, act.shape, act.index, given=fg.Given(float(_number(scale)), int(_number(zero)) - shift))


def _dequantize(builder, node, x, scale, zero, least, most, dtype, **kwargs):
    if isinstance(x, Act):
        given = fg.Given(float(_number(scale)), int(_number(zero)) - _SHIFTS.get(dtype, 0))
        if x.given != given:
            raise builder.error("an activation is dequantized with another scale than it was quantized with")
    return x


def weight(node, name, args, folded):
    """``folded`` (a `Const` dequantized from constants ``args``) with its ``steps`` where the integers can be kept:
    symmetric int8 in -127..127 along the first axis. Other weights are quantized anew."""
    integers, scale, zero = (a.tensor if isinstance(a, Const) else a if a is None else torch.as_tensor(a)
                              for a in args[:3])
    along_rows = integers.ndim > 1 and (name == "dequantize_per_tensor" or args[3] == 0)
    symmetric = integers.dtype == torch.int8 and (zero is None or not zero.any()) and integers.min() >= -127
    if along_rows and symmetric and bool((scale > 0).all()):
        folded.steps = scale.detach().double().expand(len(integers)).clone()
    return folded


def _per_channel(builder, node, *args, **kwargs):
    raise builder.error("an activation quantized per channel is not supported; one scale for the whole tensor is")


HANDLERS = {"quantize_per_tensor": _quantize, "dequantize_per_tensor": _dequantize,
            "quantize_per_channel": _per_channel, "dequantize_per_channel": _per_channel}
