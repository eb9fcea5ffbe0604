"""`weft.sparsify`: prune the linear layers of a model to n of m weights along their inputs."""

from contextlib import contextmanager

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from weft.compensation import compensate
from weft.hw.errors import CompileError
from weft.nn.layers import linear_layers, matrix, own_linear_layers, set_matrix, working_copy
from weft.weights import SPARSITIES

__all__ = ["SALIENCIES", "keep_zeros", "sparsify"]

SALIENCIES = ("hessian", "activation", "magnitude")


def best_of(scores, n, m):
    """Bool [N, K]: the ``n`` largest of each ``m`` neighbours along K; the first of equal ones."""
    groups = scores.reshape(len(scores), -1, m)
    order = groups.argsort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., :n], True).reshape(scores.shape)


def pruned(weight, n, m, moments, saliency):
    """``weight`` [N, K] with ``n`` of ``m`` left; ``moments`` [K, K] is the sum of ``x x^T`` over typical inputs."""
    if saliency == "magnitude":
        return weight * best_of(weight.abs(), n, m)
    if saliency == "activation":
        return weight * best_of(weight.abs() * moments.diagonal().sqrt(), n, m)

    def choose(start, columns, deviation):
        keep = best_of((columns / deviation) ** 2, n, m)
        return lambda k, column: column * keep[:, k]

    return compensate(weight, moments, m, choose).to(weight.dtype)


@contextmanager
def _moments(layers):
    """While active, every call of a layer adds to ``{path: sum of x x^T, float32[K, K]}``."""
    sums, handles = {}, []

    def watch(path):
        def hook(module, args):
            x = args[0].detach().reshape(-1, args[0].shape[-1]).float()
            sums[path] = sums[path] + x.t() @ x if path in sums else x.t() @ x
        return hook

    try:
        for path, layer in layers.items():
            handles.append(layer.register_forward_pre_hook(watch(path)))
        yield sums
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _run(model, batches):
    for args, kwargs in batches:
        model(*args, **(kwargs or {}))


@contextmanager
def _evaluating(model):
    """Eval mode, without dropout; the modules' own modes afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


# Moments of a layer's inputs are kept for as many layers at a time as fit.
_MOMENTS_BYTES = 2**30


def _portions(layers):
    """The layers in portions whose moments fit `_MOMENTS_BYTES`."""
    portion, size = {}, 0
    for path, layer in layers.items():
        needed = 4 * matrix(layer).shape[1] ** 2
        if portion and size + needed > _MOMENTS_BYTES:
            yield portion
            portion, size = {}, 0
        portion[path] = layer
        size += needed
    if portion:
        yield portion


def _prune(model, layers, n, m, batches, saliency):
    if saliency == "magnitude":
        for layer in layers.values():
            set_matrix(layer, pruned(matrix(layer), n, m, None, saliency))
        return
    for portion in _portions(layers):
        with _moments(portion) as sums, _evaluating(model):
            _run(model, batches)
        for path, layer in portion.items():
            if path not in sums:
                raise CompileError(f"layer {path} was not called on the calibration data; leave it out of `modules` or "
                                   "prune it by magnitude")
            if not torch.isfinite(sums[path]).all():
                raise CompileError(f"layer {path} has NaN or infinite inputs on the calibration data")
            set_matrix(layer, pruned(matrix(layer), n, m, sums.pop(path), saliency))


@contextmanager
def keep_zeros(model, modules=None):
    """While active, weights of linear layers that are zero now stay zero, whatever optimizer trains the model.

    They are set to zero again after every step of any `torch.optim.Optimizer` and at the end. Parameters keep their names
    and stay ordinary ones. ``modules``: a pattern or several of module paths; by default every linear layer.
    """
    chosen = own_linear_layers(model) if modules is None else linear_layers(model, modules)
    zeros = [(layer.weight, layer.weight.detach() == 0) for layer in chosen.values()]

    @torch.no_grad()
    def apply(*args):
        for weight, zero in zeros:
            weight.masked_fill_(zero, 0)

    handle = register_optimizer_step_post_hook(apply)
    try:
        yield model
    finally:
        handle.remove()
        apply()


def _checked(model, modules, pattern, saliency, calibration):
    if pattern not in SPARSITIES:
        raise CompileError(f"the sparsity pattern must be {' or '.join(SPARSITIES)}, not {pattern!r}")
    if saliency not in SALIENCIES:
        raise CompileError(f"the saliency must be one of {', '.join(SALIENCIES)}, not {saliency!r}")
    layers = own_linear_layers(model) if modules is None else linear_layers(model, modules)
    if not layers:
        raise CompileError(f"{type(model).__name__} has no linear layer to prune")
    for path, layer in layers.items():
        inputs = matrix(layer).shape[1]
        if inputs % SPARSITIES[pattern][1]:
            raise CompileError(f"layer {path} has {inputs} inputs, which {pattern} sparsity cannot divide into groups of "
                               f"{SPARSITIES[pattern][1]}; name the layers to prune by `modules`")
    batches = list(calibration or [])
    if not batches and saliency != "magnitude":
        raise CompileError("sparsify needs at least one batch of (args, kwargs) for calibration")
    return layers, batches


def sparsify(model, pattern, *, calibration=None, modules=None, saliency="hessian", finetune=None, inplace=False):
    """Prunes linear layers so that of each m neighbouring inputs at most n have a weight, for each output.

    Parameters
    ----------
    model: `torch.nn.Module`; left as it is unless ``inplace``.
    pattern: "2:4" or "1:4".
    calibration: iterable of ``(args, kwargs)`` with typical data, unpadded where possible.
    modules: pattern of module paths (`fnmatch`), or several; by default every linear layer that shares its weight with no
        other module (such as an embedding).
    saliency: "hessian": what changes the layer's outputs least is pruned and the other weights make up for it
        (SparseGPT); "activation": magnitude times the norm of the input (Wanda), other weights unchanged;
        "magnitude", which needs no calibration.
    finetune: called with the pruned model, to train it by any loop with a `torch.optim.Optimizer`; what was pruned stays
        zero (`weft.nn.keep_zeros`).

    Returns the model, an ordinary one: layers, parameters and state dict as before. Raises CompileError for a pattern of
    paths that matches no linear layer and for layers whose inputs m does not divide.
    """
    model = working_copy(model, inplace)
    layers, batches = _checked(model, modules, pattern, saliency, calibration)
    _prune(model, layers, *SPARSITIES[pattern], batches, saliency)
    if finetune is not None:
        if not callable(finetune):
            raise CompileError(f"finetune must be a function of the model, not {type(finetune).__name__}")
        with keep_zeros(model, list(map(_literal, layers))):
            finetune(model)
    return model


def _literal(path):
    """A pattern that matches the path alone."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in path)
