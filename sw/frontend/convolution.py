"""Convolutions as matrix products: windows are views of the input, their kernels are weights.

Windows of a floating-point input of the model are gathered by the host, which also pads it. In activations whole rows
hold the channels of a position: there each position of the kernel is a linear layer of some rows, and the results are
added; padding is a row of zeros that stands at many positions.
"""

from itertools import product
from math import prod

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const, Host

__all__ = ["convolution"]


def _windows(act, kernel, stride, dilation):
    """Map of ``act [batch, channels, *sizes]`` as ``[batch, *positions, channels, *kernel]``."""
    index, axes = act.map, len(kernel)
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation), start=2):
        index = index.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    return index.permute(0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))


def _dense(weight, groups):
    """Weights ``[out, in / groups, *kernel]`` without groups: ``[out, in, *kernel]``."""
    out, inner, *kernel = weight.shape
    dense = weight.new_zeros(out, inner * groups, *kernel)
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        dense[rows, group * inner:(group + 1) * inner] = weight[rows]
    return dense


def _widths(padding, kernel, dilation):
    """Zeros before and after each spatial axis."""
    if padding == "same":
        gaps = [gap * (size - 1) for size, gap in zip(kernel, dilation)]
        return [(gap // 2, gap - gap // 2) for gap in gaps]
    return [(0, 0) if padding == "valid" else (width, width) for width, _ in zip(_each(padding, kernel), kernel)]


def _each(value, kernel):
    """``value`` for each axis of the kernel."""
    return [value] * len(kernel) if isinstance(value, (int, str)) else list(value) * (len(kernel) // len(value))


def _padded(builder, act, widths):
    """``act [batch, channels, *sizes]`` with zeros around its sizes; 0 has a place in every form that a model gives."""
    flat = [width for pair in reversed(widths) for width in pair]
    writer = builder.writer(act.base)
    if isinstance(writer, fg.FInput) and act.expr is None:
        dtype = getattr(torch, builder.host.steps[writer.value]["dtype"])
        inner = builder.host_array(Host(writer.value, act.shape, act.index, dtype))
        pairs = [(0, 0), (0, 0), *widths]
        shape = [size + sum(pair) for size, pair in zip(act.shape, pairs)]
        array = builder.host.add("pad_zeros", [builder.host.ref(inner), [list(pair) for pair in pairs]], {}, shape, dtype)
        name = builder.emit(fg.FInput, prod(shape[:-1]), shape[-1], kind="float", value=array, origin=writer.origin)
        return Act(name, tuple(shape), given=act.given)
    given, last = act.given, act.map.movedim(1, -1)
    act = builder.plain(Act(act.base, tuple(last.shape), last, act.expr, act.centered))
    rows, columns = builder.split(act)
    name = builder.columns(act.base, columns)
    tensor = builder.tensor(name)
    zero = builder.emit(fg.FConst, 1, tensor.features, values=torch.zeros(1, tensor.features))
    index = torch.nn.functional.pad(rows.reshape(act.shape[:-1]), flat, value=tensor.rows)
    joined = builder.emit(fg.FConcat, index.numel(), tensor.features, parts=(name, zero), index=index.reshape(-1))
    columns_last = torch.arange(index.numel() * tensor.features).reshape(*index.shape, tensor.features)
    index = columns_last.movedim(-1, 1).contiguous()
    return Act(joined, tuple(index.shape), index, given=given)


def convolution(builder, linear, x, weight, bias, stride, padding, dilation, groups):
    """The value of a convolution; ``linear(x, weight, bias)`` is that of a linear layer.

    ``stride``, ``dilation``: an int or one for each axis; ``padding``: likewise, or "same" or "valid".
    """
    x, kernel = builder.activation(x), tuple(weight.shape[2:])
    stride, dilation = _each(stride, kernel), _each(dilation, kernel)
    widths = _widths(padding, kernel, dilation)
    batched = len(x.shape) == len(kernel) + 2
    if not batched:
        x = Act(x.base, (1, *x.shape), x.map[None], x.expr, x.centered, given=x.given)
    if any(map(any, widths)):
        x = _padded(builder, x, widths)
    index = _windows(x, kernel, stride, dilation)
    dense = _dense(builder.weight(weight, "weight"), groups)
    positions = tuple(index.shape[:1 + len(kernel)])

    def part(index, weight, bias):
        shape = (*positions, prod(index.shape[len(positions):]))
        view = Act(x.base, shape, index.reshape(shape), x.expr, x.centered, given=x.given)
        return linear(view, Const(weight.reshape(len(weight), -1)), bias)

    if prod(kernel) == 1 or builder.holds_rows(x, index.reshape(prod(positions), -1)):
        y = part(index, dense, bias)
    else:
        offsets = list(product(*(range(size) for size in kernel)))
        y = part(index[(..., *offsets[0])], dense[(..., *offsets[0])], bias)
        for offset in offsets[1:]:
            more = part(index[(..., *offset)], dense[(..., *offset)], None)
            tensor = builder.tensor(builder.matrix(y))
            y = builder.result(builder.emit(fg.FAdd, tensor.rows, tensor.features, a=builder.matrix(y),
                                            b=builder.matrix(more)), y.shape)
    index = y.map.movedim(-1, 1)
    index = index if batched else index[0]
    return Act(y.base, tuple(index.shape), index.contiguous())
