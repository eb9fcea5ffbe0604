"""What each exported operator on activations becomes in the float graph; everything else is elementwise or an error.

A handler gets the builder, the exported node and the operator's arguments as values; it returns a value, or None to
let the elementwise rule try.
"""

from math import prod

import torch

from weft.frontend import elementwise, norms, prequantized
from weft.frontend import graph as fg
from weft.frontend.attention import as_mask, attention
from weft.frontend.concatenate import concatenate
from weft.frontend.convolution import convolution
from weft.frontend.pooling import mean_rows
from weft.frontend.views import Act, Const, Host, Probs, Scores, Stat
from weft.nn.block_circulant import expand

__all__ = ["HANDLERS", "SUPPORTED"]

SUPPORTED = ("linear layers and matrix products with weights, convolutions, attention "
             "(scaled_dot_product_attention or matmul-softmax-matmul), layer and RMS norms, means over tokens, embeddings, "
             "residual additions, products of activations, rotary embedding, elementwise functions of one "
             "activation, views, row selection, concatenation, static quantization to 8 bits, and integer or mask arithmetic "
             "on inputs")


def _linear(builder, node, x, weight, bias=None, circulant=0):
    if not isinstance(weight, Const):
        return None
    x, steps = builder.activation(x), weight.steps
    weight = builder.weight(weight, "weight")
    bias = torch.zeros(weight.shape[0]) if bias is None else builder.weight(bias, "bias").reshape(-1)
    name, rows, columns = builder.rowwise(x)
    tensor = builder.tensor(name)
    if columns is not None:  # the layer reads some features, or in another order: its weights can absorb that
        weight = torch.zeros(weight.shape[0], tensor.features).index_add_(1, columns, weight)
    out = builder.emit(fg.FLinear, tensor.rows, weight.shape[0], x=name, weight=weight,
                       bias=bias.expand(weight.shape[0]).contiguous(), given=x.given, steps=steps, circulant=circulant,
                       macs=prod(x.shape) * weight.shape[0])
    return builder.result(out, (*x.shape[:-1], weight.shape[0]), rows)


def _block_circulant(builder, node, x, generators, bias=None):
    """`weft.nn.BlockCirculantLinear`, by its operator; usual blocks are found in any matrix, whoever made it."""
    if not isinstance(generators, Const):
        return None
    return _linear(builder, node, x, Const(expand(generators.tensor), generators.name), bias, generators.shape[-1])


def _addmm(builder, node, bias, x, weight, *, beta=1, alpha=1):
    if not isinstance(weight, Const) or not isinstance(bias, Const) or beta != 1 or alpha != 1:
        return None
    if bias.tensor.numel() not in (1, bias.shape[-1]):
        return None
    return _linear(builder, node, x, Const(weight.tensor.t(), weight.name), bias)


def _matmul(builder, node, a, b):
    if isinstance(a, Probs):
        return attention(builder, a.scores, builder.activation(b), node.meta["val"].shape)
    if isinstance(b, Const) and b.tensor.ndim >= 2:
        # Batched products with one and the same matrix are a linear layer too.
        matrices = b.tensor.reshape(-1, *b.tensor.shape[-2:])
        if not isinstance(a, (Act, Host)) or not bool((matrices == matrices[:1]).all()):
            return None
        y = _linear(builder, node, a, Const(matrices[0].t(), b.name))
        shape = tuple(node.meta["val"].shape)
        return y if y.shape == shape else None
    if isinstance(a, (Act, Host)) and isinstance(b, (Act, Host)):
        a, b = builder.activation(a), builder.activation(b)
        if len(a.shape) < 2 or len(b.shape) < 2:
            return None
        k = Act(b.base, (*b.shape[:-2], b.shape[-1], b.shape[-2]), b.map.transpose(-1, -2), b.expr, b.centered)
        return Scores(a, k, tuple(node.meta["val"].shape))
    return None


def _sdpa(builder, node, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    q, k, v = (builder.activation(t) for t in (q, k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if k.shape[:-2] != q.shape[:-2]:
        if not enable_gqa:
            raise builder.error(f"attention with query shape {q.shape} and key shape {k.shape} is not supported")
        group = q.shape[-3] // k.shape[-3]
        k, v = (Act(t.base, (*t.shape[:-3], q.shape[-3], *t.shape[-2:]), t.map.repeat_interleave(group, -3), t.expr)
                for t in (k, v))
    shape = (*q.shape[:-1], k.shape[-2])
    scores = Scores(q, k, shape, scale)
    if is_causal:
        scores.masks.append(as_mask(builder, Const(torch.ones(shape[-2:], dtype=torch.bool).tril()), shape))
    if attn_mask is not None:
        scores.masks.append(as_mask(builder, attn_mask, shape))
    return attention(builder, scores, v, node.meta["val"].shape)


def _softmax(builder, node, x, dim, *args, **kwargs):
    if not isinstance(x, Scores):
        return None
    if dim not in (-1, len(x.shape) - 1):
        raise builder.error(f"softmax over axis {dim} of attention scores is not supported; it must be the last axis")
    return Probs(x, x.shape)


def _masked_fill(builder, node, x, mask, value):
    if not isinstance(x, Scores):
        return None
    number = value if isinstance(value, (int, float)) else float(value.tensor)
    if number > -1e4:
        raise builder.error(f"attention scores may be masked with minus infinity or a value below -10000, not {number}")
    keep = as_mask(builder, mask, x.shape, inverted=True)
    return Scores(x.q, x.k, x.shape, x.scale, [*x.masks, keep])


def _where(builder, node, condition, a, b):
    if isinstance(a, Scores) and isinstance(b, (Const, int, float)):
        value = b if isinstance(b, (int, float)) else float(b.tensor.max())
        if value > -1e4:
            raise builder.error(f"attention scores may be masked with values below -10000, not {value}")
        keep = as_mask(builder, condition, a.shape)
        return Scores(a.q, a.k, a.shape, a.scale, [*a.masks, keep])
    if isinstance(b, Scores):
        return _masked_fill(builder, node, b, condition, a)
    return None


def _scores_arithmetic(builder, name, a, b, alpha=1):
    scores, other = (a, b) if isinstance(a, Scores) else (b, a)
    number = elementwise.scalar(other)
    if name in ("mul", "div") and number is not None and (name == "mul" or scores is a):
        if scores.masks:
            raise builder.error("scaling attention scores after masking is not supported; scale before the mask")
        factor = number if name == "mul" else 1.0 / number
        return Scores(scores.q, scores.k, scores.shape, scores.scale * factor, list(scores.masks))
    if name == "add" and alpha == 1 and isinstance(other, (Const, Host)):
        keep = as_mask(builder, other, scores.shape)
        return Scores(scores.q, scores.k, scores.shape, scores.scale, [*scores.masks, keep])
    raise builder.error("attention scores may only be scaled by a number and masked before softmax")


def _binary(builder, node, a, b, **kwargs):
    name = node.target.overloadpacket.__name__.rstrip("_")
    if isinstance(a, Scores) or isinstance(b, Scores):
        return _scores_arithmetic(builder, name, a, b, **kwargs)
    if isinstance(a, Stat) or isinstance(b, Stat):
        return norms.arithmetic(builder, name, a, b, node.meta["val"].shape)
    if name in ("add", "sub"):
        return elementwise.add(builder, node, a, b, **kwargs)
    return elementwise.multiply(builder, node, a, b, **kwargs)


def _mean(builder, node, x, dim=None, keepdim=False, **kwargs):
    x = builder.activation(x) if isinstance(x, Host) else x
    pooled = mean_rows(builder, x, dim, keepdim) if isinstance(x, Act) else None
    return norms.mean(builder, node, x, dim, keepdim, **kwargs) if pooled is None else pooled


def _embedding(builder, node, weight, ids, padding_idx=-1, *args):
    if not isinstance(ids, Host):
        return None
    table = builder.weight(weight, "embedding")
    name = builder.ids(ids, table.shape[0])
    out = builder.emit(fg.FEmbed, prod(ids.shape), table.shape[1], ids=name, table=table)
    return Act(out, (*ids.shape, table.shape[1]))


def _conv(builder, node, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if not isinstance(weight, Const) or not isinstance(x, (Act, Host)):
        return None
    steps = weight.steps

    def linear(x, weight, bias):
        return _linear(builder, node, x, Const(weight.tensor, weight.name, steps), bias)

    return convolution(builder, linear, x, weight, bias, stride, padding, dilation, groups)


def _convolution(builder, node, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    if transposed:
        raise builder.error("a transposed convolution is not supported")
    return _conv(builder, node, x, weight, bias, stride, padding, dilation, groups)


def _cat(builder, node, values, dim=0):
    return concatenate(builder, values, dim)


def _stack(builder, node, values, dim=0):
    dim %= len(values[0].shape) + 1
    return concatenate(builder, [_unsqueezed(builder.activation(v), dim) for v in values], dim)


def _unsqueezed(act, dim):
    index = act.map.unsqueeze(dim)
    return Act(act.base, tuple(index.shape), index, act.expr, act.centered, given=act.given)


HANDLERS = {
    "linear": _linear, "block_circulant_linear": _block_circulant, "addmm": _addmm,
    "matmul": _matmul, "mm": _matmul, "bmm": _matmul,
    "scaled_dot_product_attention": _sdpa, "softmax": _softmax, "_softmax": _softmax,
    "conv1d": _conv, "conv2d": _conv, "conv3d": _conv, "convolution": _convolution,
    "cat": _cat, "concat": _cat, "stack": _stack,
    "masked_fill": _masked_fill, "where": _where, "embedding": _embedding,
    "add": _binary, "sub": _binary, "mul": _binary, "div": _binary,
    "layer_norm": norms.layer_norm, "native_layer_norm": norms.native_layer_norm, "rms_norm": norms.rms_norm,
    "mean": _mean, "var": norms.variance, "rsqrt": norms.power(-0.5), "sqrt": norms.power(0.5),
    "reciprocal": norms.power(-1.0), "pow": norms.pow_scalar,
    **prequantized.HANDLERS,
}
