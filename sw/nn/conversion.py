"""`weft.circulant`: exchange linear layers of a model for block-circulant ones; and back into ordinary layers."""

import torch

from weft.hw.errors import CompileError
from weft.nn.block_circulant import BlockCirculantLinear
from weft.nn.layers import linear_layers, matrix, replaced, working_copy

__all__ = ["circulant", "expanded"]


def circulant(model, block=8, *, modules, inplace=False):
    """Replaces linear layers by `weft.nn.BlockCirculantLinear`, next to them in least squares.

    A trained dense matrix is far from block-circulant (a relative error of about ``sqrt(1 - 1 / block)``): the result is a
    starting point for training, for instance by `weft.distill` from the model.

    Parameters
    ----------
    model: `torch.nn.Module`; left as it is unless ``inplace``.
    block: size of the circulant blocks, which must divide inputs and outputs of each layer.
    modules: pattern of module paths (`fnmatch`, such as "*.mlp.*"), or several; `nn.Linear` and transformers' Conv1D
        count.

    Returns the model. Raises CompileError for a pattern that matches no linear layer, and for sizes that ``block`` does
    not divide.
    """
    model = working_copy(model, inplace)
    layers = linear_layers(model, modules)
    for path, layer in layers.items():
        outputs, inputs = matrix(layer).shape
        if inputs % block or outputs % block:
            raise CompileError(f"layer {path} with {inputs} inputs and {outputs} outputs cannot be cut into circulant "
                               f"blocks of {block}; both sizes must be multiples of it")
    # A layer that is reachable by several paths stays one layer.
    new = {}
    for path, layer in layers.items():
        if id(layer) not in new:
            new[id(layer)] = BlockCirculantLinear.from_linear(layer, block)
        replaced(model, path, new[id(layer)])
    return model


@torch.no_grad()
def expanded(model, inplace=False):
    """The model with ``nn.Linear`` layers of the same matrices in the place of block-circulant ones.

    That is an ordinary model, for saving and loading without Weft; the compiler finds the blocks in its weights again.
    """
    model = working_copy(model, inplace)
    new = {}
    for path, layer in [(path, module) for path, module in model.named_modules(remove_duplicate=False)
                        if isinstance(module, BlockCirculantLinear)]:
        if id(layer) not in new:
            weight = layer.dense_weight()
            new[id(layer)] = torch.nn.Linear(layer.in_features, layer.out_features, layer.bias is not None,
                                             device=weight.device, dtype=weight.dtype).train(layer.training)
            new[id(layer)].weight.copy_(weight)
            if layer.bias is not None:
                new[id(layer)].bias.copy_(layer.bias)
        replaced(model, path, new[id(layer)])
    return model
