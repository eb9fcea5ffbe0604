"""Walk an exported graph and build the float graph and the host's part from what its operators compute.

Constants are folded with the exported operators themselves; what depends only on integer inputs goes to the host;
views become index maps; the rest is recognised operator by operator (`weft.frontend.operators`).
"""

import operator
from math import prod

import torch

from weft.frontend import host_steps, operators, prequantized, rotary
from weft.frontend import graph as fg
from weft.frontend.builder import Builder
from weft.frontend.elementwise import elementwise
from weft.frontend.host import HostGraph
from weft.frontend.views import Act, Const, Host, Mix, Probs, Reordered, Scores, Stat, Value, is_identity
from weft.hw.errors import CompileError
from weft.qgraph import Origin

__all__ = ["is_known", "translate"]

_VIEWS = {"view", "reshape", "_unsafe_view", "transpose", "t", "permute", "unsqueeze", "squeeze", "select", "slice",
          "expand", "flatten", "unflatten", "split", "split_with_sizes", "chunk", "unbind", "narrow", "movedim",
          "index_select", "repeat", "expand_as", "flip", "roll", "index", "repeat_interleave", "view_as", "reshape_as",
          "swapaxes", "tile", "numpy_T", "diagonal", "unfold", "tensor_split", "squeeze_copy", "view_copy",
          "matrix_H", "mT", "rot90", "unsafe_split", "unsafe_chunk", "broadcast_to"}
_SAME = {"contiguous", "clone", "detach", "alias", "lift_fresh_copy", "lift_fresh", "dropout", "feature_dropout",
         "alpha_dropout", "native_dropout", "detach_copy", "positive"}
_CASTS = {"to", "_to_copy", "type_as", "float", "double", "half"}
_SKIP = {"_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_constrain_range_for_size",
         "sym_constrain_range"}


def _name(target):
    """Operator name without its overload and without the underscore of in-place variants; and whether in place."""
    packet = getattr(target, "overloadpacket", None)
    name = (packet or target).__name__
    if name.endswith("_") and not name.endswith("__"):
        return name[:-1], True
    return name, False


def _module_path(node):
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def is_known(target):
    """Whether an exported operator can be translated as it is, at least where its operands allow it."""
    if not isinstance(target, torch._ops.OpOverload):
        return True
    name = _name(target)[0]
    return (name in _VIEWS or name in _SAME or name in _CASTS or name in _SKIP or name in operators.HANDLERS
            or name in rotary.JOINS or host_steps.is_known(name) or torch.Tag.pointwise in target.tags)


class _Translator:
    """One walk; ``inputs_on_host``: the host also does arithmetic on floating-point inputs (masks given as floats)."""

    def __init__(self, exported, inputs_on_host):
        self.inputs_on_host = inputs_on_host
        self.exported = exported
        self.host = HostGraph(parameters=exported.parameters)
        self.builder = Builder(self.host)
        self.env = {}
        self.float_inputs = set()

    # -- inputs and outputs -----------------------------------------------------------------------------------

    def inputs(self):
        for leaf in self.exported.inputs:
            record = {"path": list(leaf.path)}
            if leaf.node is None:
                plain = leaf.value is None or isinstance(leaf.value, (bool, int, float, str))
                record.update({"fixed": leaf.value} if plain else {"fixed": None, "opaque": True})
            else:
                tensor = leaf.value
                number = self.host.add("input", [len(self.host.leaves)], {}, tensor.shape, tensor.dtype)
                if tensor.dtype.is_floating_point:
                    self.float_inputs.add(number)
                self.env[leaf.node] = Host(number, tuple(tensor.shape), None, tensor.dtype)
                record.update(value=number, shape=list(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
            self.host.leaves.append(record)
        for node, tensor in self.exported.constants.items():
            self.env[node] = Const(tensor, self.exported.names[node])

    def outputs(self, args):
        leaves = []

        def collect(item):
            if isinstance(item, (list, tuple)):
                for one in item:
                    collect(one)
            elif isinstance(item, torch.fx.Node):
                leaves.append(self.env[item.name])

        collect(args)
        for value in leaves:
            if isinstance(value, Const):
                self.builder.graph.outputs.append(fg.FOutput(value.shape, constant=value.tensor))
            elif isinstance(value, Host):
                self.builder.graph.outputs.append(fg.FOutput(value.shape, value=self.builder.host_array(value)))
            elif isinstance(value, (Act, Mix)):
                value = self.builder.activation(value)
                plain = self.builder.plain(value)
                self.builder.graph.outputs.append(fg.FOutput(plain.shape, tensor=plain.base, index=plain.index))
            else:
                raise self.builder.error("attention scores or norm statistics cannot be results of the model")
        if not any(output.tensor for output in self.builder.graph.outputs):
            raise CompileError("no result of the model is computed by the accelerator from its inputs")

    # -- nodes ------------------------------------------------------------------------------------------------

    def value(self, argument):
        if isinstance(argument, torch.fx.Node):
            return self.env[argument.name]
        if isinstance(argument, (list, tuple)):
            return type(argument)(self.value(a) for a in argument)
        if isinstance(argument, slice):
            return slice(self.value(argument.start), self.value(argument.stop), self.value(argument.step))
        return argument

    def run(self):
        self.inputs()
        for node in self.exported.nodes:
            self.builder.origin = Origin(node.name, _module_path(node))
            if node.op == "placeholder":
                self.env.setdefault(node.name, None)  # only an effect token is neither input nor constant
            elif node.op == "get_attr":
                target = self.exported.graph_module
                for part in node.target.split("."):
                    target = getattr(target, part)
                self.env[node.name] = Const(target, node.target) if isinstance(target, torch.Tensor) else target
            elif node.op == "call_function":
                self.env[node.name] = self.call(node)
            elif node.op == "output":
                self.outputs(node.args)
        graph = self.builder.graph
        graph.prune()
        return graph

    def call(self, node):
        args, kwargs = self.value(node.args), self.value(node.kwargs)
        if node.target is operator.getitem:
            return args[0][args[1]]
        name, in_place = _name(node.target)
        if name in _SKIP:
            return None
        result = self.operator(node, name, args, kwargs)
        if in_place and isinstance(node.args[0], torch.fx.Node):
            self.env[node.args[0].name] = result
        return result

    def operator(self, node, name, args, kwargs):
        values = [v for v in _flatten((args, tuple(kwargs.values()))) if _is_value(v)]
        if all(isinstance(v, Const) for v in values):
            return self.fold(node, args, kwargs)
        if isinstance(node.target, torch._ops.OpOverload):
            subject = args[0] if args else None
            if name in _SAME and _is_value(subject):
                return (subject, None) if name == "native_dropout" else subject
            if name in _CASTS and isinstance(subject, (Act, Mix, Scores, Probs, Stat)):
                return self.cast(node, subject)
            if name in _VIEWS and all(isinstance(v, (Const, Value)) for v in values) and isinstance(subject, Value) \
                    and sum(not isinstance(v, Const) for v in values) == 1:
                return self.view(node, args, kwargs)
            if name in _VIEWS and isinstance(subject, Mix) \
                    and all(isinstance(v, Const) for v in values if v is not subject):
                return rotary.map_terms(subject, lambda t: node.target(
                    *_unwrap(args, {id(subject): t}), **_unwrap(kwargs, {id(subject): t})))
            if name in _VIEWS and isinstance(subject, (Scores, Probs, Reordered)):
                return self.view_scores(node, subject, args, kwargs)
            if any(isinstance(v, Reordered) for v in values):
                raise self.builder.error("attention scores may only be reshaped over batch and heads")
            if name != "scaled_dot_product_attention":
                args, kwargs = self.activations(node, args), {k: self.activations(node, v) for k, v in kwargs.items()}
                values = [v for v in _flatten((args, tuple(kwargs.values()))) if _is_value(v)]
                if name in _CASTS and isinstance(args[0], Act):
                    return self.cast(node, args[0])
            if all(isinstance(v, (Const, Host)) for v in values):
                result = host_steps.translate(self.builder, node, name, args, kwargs)
                if result is not None:
                    return result
            result = rotary.combine(self.builder, node, name, args, kwargs)
            if result is not None:
                return result
            args, kwargs = self.settled(args), {k: self.settled(v) for k, v in kwargs.items()}
            handler = operators.HANDLERS.get(name)
            if handler is not None:
                result = handler(self.builder, node, *args, **kwargs)
                if result is not None:
                    return result
            result = elementwise(self.builder, node, name, args, kwargs)
            if result is not None:
                return result
        raise CompileError(f"operator {node.target} in module {_module_path(node) or '<top>'} ({node.name}) is not "
                           f"supported here; supported: {operators.SUPPORTED}")

    def activations(self, node, item):
        """``item`` with floating-point inputs as activations, where the result of ``node`` is floating point too."""
        if isinstance(item, (list, tuple)):
            return type(item)(self.activations(node, i) for i in item)
        result = node.meta.get("val")
        if isinstance(item, Host) and item.base in self.float_inputs and not self.inputs_on_host \
                and isinstance(result, torch.Tensor) and result.dtype.is_floating_point:
            return self.builder.activation(item)
        return item

    def settled(self, item):
        """``item`` with combinations of features as activations."""
        if isinstance(item, (list, tuple)):
            return type(item)(self.settled(i) for i in item)
        return self.builder.activation(item) if isinstance(item, Mix) else item

    def fold(self, node, args, kwargs):
        result = node.target(*_unwrap(args), **_unwrap(kwargs))
        wrapped, name = _wrap(result), _name(node.target)[0]
        if name in prequantized.HANDLERS and name.startswith("de"):
            return prequantized.weight(node, name, args, wrapped)
        if isinstance(wrapped, Const) and len([a for a in args if isinstance(a, Const)]) == 1:
            wrapped.name = next(a for a in args if isinstance(a, Const)).name
        return wrapped

    def cast(self, node, subject):
        dtype = node.meta["val"].dtype
        if not dtype.is_floating_point:
            raise self.builder.error(f"activations cannot become {str(dtype).removeprefix('torch.')}")
        return subject

    def view(self, node, args, kwargs):
        subject = next(v for v in _flatten((args, tuple(kwargs.values()))) if isinstance(v, Value))
        swap = {id(subject): subject.map}
        result = node.target(*_unwrap(args, swap), **_unwrap(kwargs, swap))

        def rebuild(index):
            if isinstance(index, (list, tuple)):
                return type(index)(rebuild(i) for i in index)
            shape = tuple(index.shape)
            count = self.base_size(subject)
            index = None if is_identity(index, count) else index.contiguous()
            if isinstance(subject, Host):
                return Host(subject.base, shape, index, subject.dtype)
            return Act(subject.base, shape, index, subject.expr, subject.centered, given=subject.given)

        return rebuild(result)

    def base_size(self, value):
        if isinstance(value, Host):
            size = 1
            for n in self.host.steps[value.base]["shape"]:
                size *= n
            return size
        tensor = self.builder.tensor(value.base)
        return tensor.rows * tensor.features

    def view_scores(self, node, subject, args, kwargs):
        """Views of scores may regroup batch and heads; queries and keys must be back in their places where it matters."""
        order = subject if isinstance(subject, Reordered) else Reordered(subject, torch.arange(prod(subject.shape)).reshape(
            subject.shape))
        others = [v for v in _flatten((args[1:], tuple(kwargs.values()))) if _is_value(v)]
        index = None if others else node.target(order.index, *args[1:], **kwargs)
        if not isinstance(index, torch.Tensor):
            raise self.builder.error("attention scores may only be reshaped over batch and heads")
        shape = tuple(index.shape)
        scores = order.scores
        if shape[-2:] != scores.shape[-2:] or not is_identity(index, prod(scores.shape)):
            return Reordered(scores, index)
        if isinstance(scores, Probs):
            return Probs(scores.scores, shape)
        return Scores(scores.q, scores.k, shape, scores.scale, list(scores.masks))


def _is_value(v):
    return isinstance(v, (Const, Value, Mix, Scores, Probs, Reordered, Stat))


def _flatten(item):
    if isinstance(item, (list, tuple)):
        for one in item:
            yield from _flatten(one)
    elif isinstance(item, dict):
        yield from _flatten(tuple(item.values()))
    else:
        yield item


def _unwrap(item, swap=()):
    if isinstance(item, (list, tuple)):
        return type(item)(_unwrap(i, swap) for i in item)
    if isinstance(item, dict):
        return {k: _unwrap(v, swap) for k, v in item.items()}
    if isinstance(item, Const):
        return item.tensor
    return swap[id(item)] if id(item) in swap else item


def _wrap(item):
    if isinstance(item, (list, tuple)):
        return type(item)(_wrap(i) for i in item)
    return Const(item) if isinstance(item, torch.Tensor) else item


@torch.no_grad()
def translate(exported):
    """`FloatGraph` of an `Exported` model; raises `CompileError` naming what is not supported and where."""
    try:
        return _Translator(exported, inputs_on_host=False).run()
    except CompileError as error:
        # A floating-point input may be a mask that the model does arithmetic on before it meets the scores.
        try:
            return _Translator(exported, inputs_on_host=True).run()
        except CompileError:
            raise error from None
