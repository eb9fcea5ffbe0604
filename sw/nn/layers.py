"""Find linear layers of a model by module path, read and replace their weights."""

import copy
import sys
from fnmatch import fnmatchcase

import torch

from weft.hw.errors import CompileError

__all__ = ["as_patterns", "is_linear", "linear_layers", "own_linear_layers", "matrix", "replaced", "set_matrix",
           "working_copy"]


def _conv1d():
    """transformers' Conv1D (GPT-2's linear layer, weights ``[in, out]``), if its module is loaded."""
    module = sys.modules.get("transformers.pytorch_utils")
    return () if module is None else (module.Conv1D,)


def is_linear(module):
    """Whether a module is a linear layer that its parent calls: ``nn.Linear`` or transformers' Conv1D.

    The output projection inside ``nn.MultiheadAttention`` is none: its parent takes the weights without calling it.
    """
    hidden = torch.nn.modules.linear.NonDynamicallyQuantizableLinear
    return isinstance(module, (torch.nn.Linear, *_conv1d())) and not isinstance(module, hidden)


def as_patterns(modules):
    """A pattern or list of patterns as a list."""
    return [modules] if isinstance(modules, str) else list(modules)


def linear_layers(model, modules):
    """``{module path: layer}`` of the linear layers whose paths match; ``modules`` is a pattern or several (fnmatch).

    Raises CompileError for a pattern that matches no linear layer.
    """
    layers = {path: module for path, module in model.named_modules(remove_duplicate=False) if is_linear(module)}
    chosen = {}
    for pattern in as_patterns(modules):
        found = {path: layer for path, layer in layers.items() if fnmatchcase(path, pattern)}
        if not found:
            raise CompileError(f"the pattern {pattern!r} matches none of the {len(layers)} linear layers of "
                               f"{type(model).__name__}")
        chosen |= found
    # In the model's order whatever the order of the patterns.
    return {path: layer for path, layer in layers.items() if path in chosen}


def own_linear_layers(model):
    """``{module path: layer}`` of all linear layers that share their weight with no other module."""
    owners = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return {path: module for path, module in model.named_modules() if is_linear(module) and owners[id(module.weight)] == 1}


def matrix(layer):
    """The weight of a linear layer as ``[out, in]``, detached."""
    weight = layer.weight.detach()
    return weight if isinstance(layer, torch.nn.Linear) else weight.t()


@torch.no_grad()
def set_matrix(layer, weight):
    """Give a linear layer the weight ``[out, in]``."""
    layer.weight.copy_(weight if isinstance(layer, torch.nn.Linear) else weight.t())


def working_copy(model, inplace):
    """``model`` itself, or a deep copy that shares nothing with it."""
    if not isinstance(model, torch.nn.Module):
        raise CompileError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
    return model if inplace else copy.deepcopy(model)


def replaced(model, path, module):
    """Put ``module`` in the place of the submodule at ``path``."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
