"""Export a user's model with ``torch.export`` and describe its inputs; the model is left as it was."""

import inspect
import warnings
from dataclasses import dataclass, field

import torch
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from weft.hw.errors import CompileError

__all__ = ["InputLeaf", "Exported", "export_model"]


@dataclass(frozen=True)
class InputLeaf:
    """One leaf of the user's ``(args, kwargs)``.

    ``path`` starts with the parameter's name (or position, for ``*args``) followed by keys into nested containers.
    ``node`` is the exported placeholder of a tensor leaf, None for any other value, which export has fixed
    to ``value``.
    """

    path: tuple
    node: str | None
    value: object


@dataclass
class Exported:
    """The exported graph's nodes, its constants by placeholder name, and the inputs."""

    nodes: list
    constants: dict
    names: dict
    inputs: list
    parameters: list
    graph_module: object = field(repr=False, default=None)


def _parameter_names(model):
    """Names of forward's positional parameters; fewer than the arguments where it takes ``*args``."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(model.forward).parameters.items() if p.kind in kinds]


def _leaf_path(key_path, parameters):
    keys = [getattr(key, "idx", getattr(key, "key", getattr(key, "name", None))) for key in key_path]
    side, root, *rest = keys
    if side == 0 and root < len(parameters):
        root = parameters[root]
    return (root, *rest)


def _check_finite(model):
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CompileError(f"parameter {name} of the model holds NaN or infinite values; weights must be finite")
    for name, tensor in model.named_buffers():
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            raise CompileError(f"buffer {name} of the model holds NaN values")


def _run_export(model, args, kwargs):
    failure = None
    for strict in (False, True):
        try:
            return torch.export.export(model, args, kwargs, strict=strict)
        except Exception as error:  # torch raises many unrelated types here, all meaning "cannot be exported"
            failure = failure or error
    reason = str(failure).strip().split("\n")[0] or type(failure).__name__
    raise CompileError(f"torch.export cannot export {type(model).__name__} with these arguments: {reason}")


def _decompose(program, is_known):
    """Rewrite operators nobody knows (einsum, baddbmm, ...) into simpler ones, and leave the others whole."""
    nodes = [n for n in program.graph.nodes if n.op == "call_function"]
    # What depends on constants only is folded by running it, known or not.
    if all(is_known(n.target) or not n.all_input_nodes for n in nodes):
        return program
    table = torch.export.default_decompositions()
    for operator in list(table):
        if is_known(operator):
            del table[operator]
    try:
        return program.run_decompositions(table)
    except Exception:  # then the translation names the operator
        return program


def export_model(model, args=(), kwargs=None, is_known=lambda target: True):
    """Export ``model`` in eval mode without gradients for the shapes of ``args`` and ``kwargs``.

    Operators that ``is_known`` refuses are decomposed where torch can.

    Raises `CompileError` where export fails or a weight is not finite.
    """
    if not isinstance(model, torch.nn.Module):
        raise CompileError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
    args, kwargs = tuple(args), dict(kwargs or {})
    _check_finite(model)
    training = {module: module.training for module in model.modules()}
    try:
        if not isinstance(model, torch.fx.GraphModule):     # what was exported before has its mode fixed
            model.eval()
        with torch.no_grad(), warnings.catch_warnings():
            # torch warns about its own use of what it deprecates; the user can do nothing about it.
            warnings.simplefilter("ignore", FutureWarning)
            program = _decompose(_run_export(model, args, kwargs), is_known)
    finally:
        for module, mode in training.items():
            module.training = mode

    parameters = _parameter_names(model)
    leaves = pytree.tree_flatten_with_path((args, kwargs))[0]
    specs = [s for s in program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    inputs = []
    for (key_path, leaf), spec in zip(leaves, specs, strict=True):
        is_tensor = isinstance(leaf, torch.Tensor)
        inputs.append(InputLeaf(_leaf_path(key_path, parameters), spec.arg.name if is_tensor else None, leaf))

    constants, names = {}, {}
    state = {**program.state_dict, **program.constants}
    for spec in program.graph_signature.input_specs:
        if spec.kind not in (InputKind.USER_INPUT, InputKind.TOKEN):
            if spec.target not in state or not isinstance(state[spec.target], torch.Tensor):
                raise CompileError(f"the exported model needs {spec.target}, which is not a tensor")
            constants[spec.arg.name] = state[spec.target].detach()
            names[spec.arg.name] = spec.target
    return Exported(list(program.graph.nodes), constants, names, inputs, parameters, program.graph_module)
