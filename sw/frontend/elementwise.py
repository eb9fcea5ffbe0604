"""Elementwise functions of one activation: collected into an expression, later one affine step or one table.

Any operator that torch tags as pointwise qualifies, alone or in a chain (a hand-written GELU is one function), as
long as only one activation and scalar constants take part.
"""

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const, Expr, Host, is_identity

__all__ = ["elementwise", "add", "multiply", "scalar"]

_X = Expr(lambda x: x, "x", (1.0, 0.0))


def scalar(value):
    """The number a scalar constant stands for, or None."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, Const) and value.tensor.numel() == 1:
        return float(value.tensor)
    return None


def _same(a, b):
    """Whether two activations are functions of the same elements in the same places."""
    if a.base != b.base or a.shape != b.shape:
        return False
    if a.index is None or b.index is None:
        return a.index is b.index
    return torch.equal(a.index, b.index)


def _affine(name, operands, kwargs):
    """``(a, b)`` if the operator maps ``a1*x+b1`` and scalars to ``a*x+b``; operands are ("x", (a, b)) or numbers."""
    alpha = kwargs.get("alpha", 1)
    first = operands[0]
    second = operands[1] if len(operands) > 1 else None
    if name == "neg":
        return (-first[0], -first[1]) if isinstance(first, tuple) else None
    if name in ("add", "sub", "rsub") and second is not None:
        if name == "rsub":
            first, second, name = second, first, "sub"
        sign = alpha if name == "add" else -alpha
        a1, b1 = first if isinstance(first, tuple) else (0.0, first)
        a2, b2 = second if isinstance(second, tuple) else (0.0, second)
        return (a1 + sign * a2, b1 + sign * b2)
    if name == "mul" and second is not None and isinstance(first, tuple) != isinstance(second, tuple):
        (a, b), c = (first, second) if isinstance(first, tuple) else (second, first)
        return (a * c, b * c)
    if name == "div" and isinstance(first, tuple) and second is not None and not isinstance(second, tuple) \
            and not kwargs.get("rounding_mode"):
        return (first[0] / second, first[1] / second)
    return None


def _compose(node, name, args, kwargs, act, origin):
    """Expression of ``act``'s elements for a pointwise operator whose other operands are scalars."""
    exprs = [a.expr or _X if isinstance(a, Act) else (scalar(a) if isinstance(a, Const) else a) for a in args]
    # Tensor overloads want a tensor where the exported graph had a scalar tensor.
    target, constants = node.target, [isinstance(a, Const) for a in args]

    def function(x):
        return target(*[e.function(x) if isinstance(e, Expr) else torch.tensor(e) if constant else e
                        for e, constant in zip(exprs, constants)], **kwargs)

    operands = [e.affine if isinstance(e, Expr) else e for e in exprs if isinstance(e, (Expr, int, float))]
    affine = None if any(o is None for o in operands) else _affine(name, operands, kwargs)
    pure = [e for e in exprs if isinstance(e, Expr)]
    square = affine is None and all(e.affine == (1.0, 0.0) for e in pure) and (
        (name == "mul" and len(pure) == 2) or name == "square" or
        (name == "pow" and len(exprs) == 2 and len(pure) == 1 and exprs[0] is pure[0] and exprs[1] == 2))
    if act.centered and not square and (affine is None or affine[1] != 0.0):
        return None
    inner = [e.label for e in pure if e.label != "x"]
    label = name if not inner else f"{name}({', '.join(dict.fromkeys(inner))})"
    return Act(act.base, act.shape, act.index, Expr(function, label, affine, square, origin),
               act.centered)


def elementwise(builder, node, name, args, kwargs):
    """The value of a pointwise operator, or None where it is none (or not of one activation)."""
    if torch.Tag.pointwise not in node.target.tags:
        return None
    tensors = [a for a in args if isinstance(a, (Act, Const, Host)) and scalar(a) is None]
    acts = [a for a in tensors if isinstance(a, Act)]
    if not acts:  # a function of a floating-point input
        floats = [a for a in tensors if isinstance(a, Host) and a.dtype.is_floating_point]
        if len(floats) != 1 or len(tensors) != 1:
            return None
        args = [builder.activation(a) if a is floats[0] else a for a in args]
        acts = tensors = [a for a in args if isinstance(a, Act)]
    if acts[0].centered and name not in ("mul", "pow", "square", "div"):
        raise builder.error("subtracting the mean outside a layer norm is not supported")
    if len(acts) != len(tensors) or not all(_same(acts[0], a) for a in acts[1:]):
        return None
    shape = tuple(node.meta["val"].shape)
    if shape != acts[0].shape:
        return None
    return _compose(node, name, args, kwargs, acts[0], builder.origin)


def _vector(builder, act, const):
    """``const`` as one value per feature if it varies over the last axis only, else None."""
    shape = const.shape
    if shape and act.shape and shape[-1] == act.shape[-1] and const.tensor.numel() == shape[-1]:
        return builder.weight(const, "constant").reshape(-1)
    return None


def _per_feature(builder, act, scale, shift):
    name, rows, columns = builder.rowwise(act)
    if columns is not None:
        name, rows = builder.matrix(act), None
    tensor = builder.tensor(name)
    out = builder.emit(fg.FAffine, tensor.rows, tensor.features, x=name, scale=scale, shift=shift)
    return builder.result(out, act.shape, rows)


def add(builder, node, a, b, *, alpha=1):
    """``a + alpha * b`` of activations, or of an activation and a constant."""
    sub = node.target.overloadpacket.__name__.rstrip("_") == "sub"
    factor = -alpha if sub else alpha
    if not any(isinstance(v, Act) for v in (a, b)):
        if any(isinstance(v, Host) and scalar(v) is None for v in (a, b)):
            a, b = (builder.activation(v) if isinstance(v, Host) else v for v in (a, b))
        else:
            return None
    if scalar(a) is not None or scalar(b) is not None:
        return None  # an elementwise function
    if isinstance(a, Act) and isinstance(b, Act) and _same(a, b):
        return None
    shape = tuple(node.meta["val"].shape)
    if isinstance(b, Const):
        b, factor = Const(b.tensor * factor, b.name), 1
    for act, const in ((a, b), (b, a)):
        if isinstance(act, Act) and isinstance(const, Const) and act.shape == shape and (act is a or factor == 1):
            vector = _vector(builder, act, const)
            if vector is not None:
                return _per_feature(builder, act, torch.ones_like(vector), vector)
    for act, const in ((a, b), (b, a)):
        if isinstance(act, Act) and isinstance(const, Const) and act.shape == shape and (act is a or factor == 1) \
                and (placed := _placed(builder, act, const)) is not None:
            a, b = act, placed
            break
    if factor != 1:
        b = builder.plain(builder.activation(b))
        b = Act(b.base, b.shape, b.index, Expr(lambda x: x * factor, "mul", (float(factor), 0.0)))
    return _joined(builder, fg.FAdd, a, b, shape)


def _joined(builder, cls, a, b, shape):
    """``cls(a, b)``, an operation element by element, of two values broadcast to ``shape``."""
    a, b = (builder.plain(_broadcast(builder, v, shape)) for v in (a, b))
    ta, tb = builder.tensor(a.base), builder.tensor(b.base)
    same_layout = (ta.rows, ta.features) == (tb.rows, tb.features) and (
        a.index is b.index or (a.index is not None and b.index is not None and torch.equal(a.index, b.index)))
    if same_layout:
        return Act(builder.emit(cls, ta.rows, ta.features, a=a.base, b=b.base), shape, a.index)
    left, right = builder.matrix(a), builder.matrix(b)
    tensor = builder.tensor(left)
    return Act(builder.emit(cls, tensor.rows, tensor.features, a=left, b=right), shape)


def _placed(builder, act, const):
    """``const`` as an activation laid out as ``act`` is, where ``act`` shows every element of its base once; or None."""
    tensor = builder.tensor(act.base)
    count = tensor.rows * tensor.features
    if act.index is None or not is_identity(act.index.reshape(-1).sort().values, count):
        return None
    values = torch.empty(count)
    values[act.index.reshape(-1)] = builder.weight(const, "constant").expand(act.shape).reshape(-1)
    base = builder.emit(fg.FConst, tensor.rows, tensor.features, values=values.reshape(tensor.rows, tensor.features))
    return Act(base, act.shape, act.index)


def _broadcast(builder, value, shape):
    """``value`` as an activation expanded to ``shape``; constants are expanded as data."""
    if isinstance(value, Const):
        return builder.activation(Const(value.tensor.expand(shape).contiguous(), value.name))
    act = builder.activation(value)
    if act.shape == shape:
        return act
    index = act.map.expand(shape)
    tensor = builder.tensor(act.base)
    return Act(act.base, shape, None if is_identity(index, tensor.rows * tensor.features) else index, act.expr)


def multiply(builder, node, a, b, **kwargs):
    """``a * b`` of activations; ``a * b`` or ``a / b`` of an activation and one constant per feature."""
    divide = node.target.overloadpacket.__name__.rstrip("_") == "div"
    if isinstance(a, Act) and isinstance(b, Act) and not _same(a, b):
        if divide:
            raise builder.error("the elementwise quotient of two different activations is not supported; supported: "
                                "quotients by scalars and by one constant per feature")
        return _joined(builder, fg.FMultiply, a, b, tuple(node.meta["val"].shape))
    shape = tuple(node.meta["val"].shape)
    for act, const in ((a, b), (b, a)):
        if isinstance(act, Host) and isinstance(const, Const) and act.dtype.is_floating_point:
            act = builder.activation(act)
        if isinstance(act, Act) and isinstance(const, Const) and act.shape == shape and scalar(const) is None \
                and not (divide and const is a):
            vector = _vector(builder, act, const)
            if vector is not None:
                vector = 1.0 / vector if divide else vector
                result = _per_feature(builder, act, vector, torch.zeros_like(vector))
                result.cache["product"] = act, Const(vector)
                return result
    return None
