"""Convolutions as matrix products: windows are views of the input, their kernels are weights.

Windows of a floating-point input of the model are gathered by the host. In activations whole rows hold the channels
of a position: there each position of the kernel is a linear layer of some rows, and the results are added.
"""

from itertools import product
from math import prod

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const

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


def convolution(builder, linear, x, weight, bias, stride, padding, dilation, groups):
    """The value of a convolution; ``linear(x, weight, bias)`` is that of a linear layer."""
    x, kernel = builder.activation(x), tuple(weight.shape[2:])
    stride, padding, dilation = ([v] * len(kernel) if isinstance(v, int) else list(v) * (len(kernel) // len(v))
                                 for v in (stride, padding, dilation))
    if any(padding):
        raise builder.error(f"a convolution with padding {padding} is not supported; without padding it is")
    batched = len(x.shape) == len(kernel) + 2
    if not batched:
        x = Act(x.base, (1, *x.shape), x.map[None], x.expr, x.centered, given=x.given)
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
