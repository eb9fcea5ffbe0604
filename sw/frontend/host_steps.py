"""Which exported operators the host evaluates, and how they are written down as steps."""

import torch

from weft.frontend.views import Const, Host
from weft.quantize.hostops import OPERATIONS

__all__ = ["is_known", "translate"]

_RENAMED = {"__and__": "logical_and", "bitwise_and": "logical_and", "__or__": "logical_or",
            "bitwise_or": "logical_or", "__xor__": "logical_xor", "bitwise_xor": "logical_xor",
            "bitwise_not": "logical_not", "__invert__": "logical_not", "_to_copy": "cast", "to": "cast",
            "type_as": "cast", "bool": "cast", "float": "cast", "long": "cast", "int": "cast", "double": "cast",
            "half": "cast", "concat": "cat", "true_divide": "div", "divide": "div", "multiply": "mul",
            "subtract": "sub"}
_FILLED = {"zeros_like": 0, "ones_like": 1, "full_like": None, "new_zeros": 0, "new_ones": 1, "new_full": None,
           "empty_like": 0, "new_empty": 0}
_DROPPED = {"dtype", "device", "layout", "pin_memory", "memory_format", "non_blocking", "copy"}


def is_known(name):
    """Whether the host evaluates an operator of this name."""
    return name in _FILLED or _RENAMED.get(name, name) in OPERATIONS


def _constant_operand(name, values):
    """Where one operand is a neutral bool constant, the other operand: keeps views of inputs recognisable."""
    if name not in ("logical_and", "logical_or") or len(values) != 2:
        return None
    for const, other in (values, values[::-1]):
        if isinstance(const, Const) and isinstance(other, Host) and const.tensor.dtype == torch.bool \
                and bool((const.tensor == (name == "logical_and")).all()):
            return other
    return None


def translate(builder, node, name, args, kwargs):
    """Value of an operator on host values and constants, or None where the host does not evaluate it."""
    result = node.meta.get("val")
    if not isinstance(result, torch.Tensor):
        return None
    shape, dtype = tuple(result.shape), result.dtype
    if name in _FILLED:
        value = _FILLED[name]
        fill = value if value is not None else args[-1] if not isinstance(args[-1], Const) else args[-1].tensor
        return Const(torch.full(shape, fill, dtype=dtype))
    name = _RENAMED.get(name, name)
    if name not in OPERATIONS:
        return None
    if name in ("logical_and", "logical_or", "logical_xor", "logical_not") and dtype != torch.bool:
        raise builder.error(f"bitwise arithmetic on {str(dtype).removeprefix('torch.')} inputs is not supported")
    values = [a for a in args if isinstance(a, (Const, Host))]
    other = _constant_operand(name, values)
    if other is not None:
        index = other.map.expand(shape)
        return Host(other.base, shape, index, other.dtype)
    if name == "cast":
        source = args[0]
        if source.dtype == dtype:
            return source
        number = builder.host.add("cast", [builder.host.ref(source.base)], {}, builder.host.steps[source.base]["shape"],
                                  dtype)
        return Host(number, source.shape, source.index, dtype)
    if name == "gather" and isinstance(args[0], Const) and args[0].tensor.unique().numel() == 1:
        return Const(torch.full(shape, args[0].tensor.reshape(-1)[0].item(), dtype=dtype))

    def encode(argument):
        if isinstance(argument, Host):
            return builder.host.ref(builder.host_array(argument))
        if isinstance(argument, Const):
            return argument.tensor.reshape(argument.tensor.shape)
        if isinstance(argument, (list, tuple)):
            return [encode(a) for a in argument]
        return argument

    extra = {k: encode(v) for k, v in kwargs.items() if k not in _DROPPED}
    number = builder.host.add(name, [encode(a) for a in args], extra, shape, dtype)
    return Host(number, shape, None, dtype)
