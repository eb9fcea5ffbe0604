"""Compute activation functions that gate a product as ``x * g(x)``, so that only the bounded g is an 8-bit table.

SwiGLU and its relatives (Shazeer, "GLU Variants Improve Transformer", 2020) multiply ``f(x)`` with another activation. An
8-bit table of f would round small values as coarsely as the largest; ``g = f(x) / x`` lies between 0 and about 1 for SiLU
and GELU, and the precision of x in 16 bits stays in the product.
"""

import torch

from weft.frontend import graph as fg

__all__ = ["split_gates"]

#: Larger quotients, or a jump at 0, are those of a function that does not behave like its argument.
_LARGEST = 4.0


def _quotient(function):
    """``g`` with ``function(x) = x * g(x)``, or None where that is not bounded and smooth."""
    near = torch.tensor([-1e-2, 1e-2], dtype=torch.float64)
    grid = torch.linspace(-32, 32, 2048, dtype=torch.float64)       # without 0
    with torch.no_grad():
        left, right = (function(near) / near).tolist()
        zero, quotients = float(function(torch.zeros(1, dtype=torch.float64))), function(grid) / grid
    if zero or abs(left - right) > 0.1 or not float(quotients.abs().max()) < _LARGEST:
        return None
    slope = (left + right) / 2

    def quotient(x):
        safe = torch.where(x == 0, 1.0, x)
        return torch.where(x == 0, slope, function(safe) / safe)

    return quotient


def split_gates(graph):
    """Split unary operations of ``graph``, in place, whose results only products with other activations read.

    Returns the names of the new tensors, which the model does not have.
    """
    ops, added = [], set()
    for op in graph.ops:
        readers = graph.consumers(op.out)
        gates = isinstance(op, fg.FUnary) and readers and not graph.is_output(op.out) and all(
            isinstance(reader, fg.FMultiply) and reader.a != reader.b for reader in readers)
        quotient = _quotient(op.function) if gates else None
        if quotient is None:
            ops.append(op)
            continue
        name, shape = f"{op.out}.gate", graph.tensors[op.out]
        graph.tensors[name] = fg.FTensor(name, shape.rows, shape.features)
        added.add(name)
        ops += [fg.FUnary(out=name, x=op.x, function=quotient, label=f"{op.label}(x) / x", origin=op.origin),
                fg.FMultiply(out=op.out, a=op.x, b=name, origin=op.origin)]
    graph.ops = ops
    return added
