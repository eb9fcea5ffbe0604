"""Weight formats that a user has chosen and a configuration or a layer does not take: refused by name, or said."""

import warnings

from weft import qgraph
from weft.hw.errors import CompileError, WeftWarning
from weft.weights import CirculantWeights

from .weights import refusals

__all__ = ["check_modes"]

#: Layers that a warning names.
_NAMED = 8


def _obstacle(op, refused):
    """Why a linear layer is not stored with 4-bit weights as it should be, or None; ``refused``: `refusals`."""
    if isinstance(op.compressed, CirculantWeights):
        return f"its weights are circulant blocks of {op.compressed.block}, whose generators are int8"
    if op.compressed is None:
        return "it comes quantized, with int8 weights of its own"
    return refused.get(op)


def check_modes(graph, config):
    """Checks the weight formats chosen (`weft.qgraph.Linear.chosen`) in a prepared graph against a configuration.

    Raises CompileError for a layer named by its path; layers that a pattern or a default chose are listed in a `WeftWarning`:
    their weights are stored as int8, or as they come.
    """
    refused, others = refusals(graph, config), {}
    for op in graph.ops:
        if isinstance(op, qgraph.Linear) and op.chosen.startswith("w4g"):
            obstacle = _obstacle(op, refused)
            if obstacle and op.named:
                raise CompileError(f"{op.origin}: {op.chosen} weights were chosen for this layer, but {obstacle}")
            if obstacle:
                others.setdefault((op.chosen, obstacle), {})[op.layer] = None
    for (chosen, obstacle), layers in others.items():
        names = ", ".join(list(layers)[:_NAMED]) + (f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else "")
        warnings.warn(f"no {chosen} weights in {names}: {obstacle}", WeftWarning, stacklevel=2)
