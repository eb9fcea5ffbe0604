"""The form in which each linear layer's weights are streamed: the one that was chosen, the one they come in, or int8.

What cannot be had is refused where a layer is named by its path, and told by a `weft.WeftWarning` elsewhere.
"""

import warnings
from dataclasses import replace

from weft.hw.errors import CompileError, WeftWarning
from weft.qgraph import Linear
from weft.weights import SPARSITIES, CirculantWeights, GroupedWeights

from .channels import choose_channels
from .circulant import circulant_refusal
from .sparse import chosen_sparse_form, sparse_form, unused_sparsity
from .weights import four_bit_refusal

__all__ = ["with_streamed_forms"]

#: Layers that a warning names.
_NAMED = 8


def with_streamed_forms(graph, config):
    """A graph for a configuration, the ``compressed`` form of each `weft.qgraph.Linear` being the one in which its weights are
    streamed; None: int8.

    Raises CompileError for a layer that is named by its path and that cannot have the chosen format. Others that cannot, and
    layers whose weights come in a form or with zeros that cannot be stored so, are listed in a `WeftWarning`: their weights are
    stored as they come, or as int8.
    """
    channels, told, ops = choose_channels(graph, config), {}, []
    for op in graph.ops:
        if isinstance(op, Linear):
            form, obstacle = _form(config, op, channels[op.x], channels[op.out])
            if obstacle and op.named and _is_choice(op):
                raise CompileError(f"{op.origin}: {op.chosen} weights were chosen for this layer, but {obstacle[1]}")
            # Layers that the compiler added have no MACs of the model.
            if obstacle and op.origin.macs:
                # What does not fit differs from layer to layer; one warning is enough.
                key = _is_choice(op), obstacle[0], None if op.misfit else obstacle[1]
                told.setdefault(key, {}).setdefault(op.layer, obstacle[1])
            op = op if form is op.compressed else replace(op, compressed=form)
        ops.append(op)
    for (chosen, name, _), layers in told.items():
        warnings.warn(_sentence(chosen, name, layers), WeftWarning, stacklevel=3)
    return replace(graph, ops=ops)


def _is_choice(op):
    """Whether the user chose how the weights of a layer are stored."""
    return op.chosen not in ("", "w8")


def _form(config, op, inputs, outputs):
    """``(form, obstacle)`` of a layer; obstacle: ``(format, reason)`` of the format that was chosen, or else in which the weights
    come, and that they cannot have; or None."""
    reason = op.misfit
    if op.chosen in SPARSITIES and not reason:
        form, reason = chosen_sparse_form(config, op.weight, inputs, op.chosen)
        if form is not None:
            return form, None
    name, refusal = _refusal(config, op.compressed, inputs, outputs)
    form = op.compressed
    if form is None or refusal:
        form = sparse_form(config, op.weight, inputs, outputs)
    if _is_choice(op):
        reason = reason or refusal
        return form, reason and (op.chosen, reason)
    if refusal:
        return form, (name, refusal)
    return form, None if form is not None else unused_sparsity(config, op.weight, inputs, outputs)


def _refusal(config, form, inputs, outputs):
    """``(name, reason)``: the format of a compressed form, and why it cannot be streamed, if it cannot."""
    match form:
        case CirculantWeights():
            return f"circulant:{form.block}", circulant_refusal(config, form, inputs, outputs)
        case GroupedWeights():
            return f"w4g{form.group}", four_bit_refusal(config, form, inputs)
    return None, None


def _sentence(chosen, name, layers):
    """A warning about ``layers``, reasons by layer."""
    names = ", ".join(list(layers)[:_NAMED]) + (f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else "")
    first, reason = next(iter(layers.items()))
    if len(set(layers.values())) > 1:
        reason = f"in {first}, {reason}"
    return f"no {name} weights in {names}: {reason}" if chosen else f"{name} weights in {names} are stored as int8: {reason}"
