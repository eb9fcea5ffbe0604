"""Append operations to a float graph and bring values into the layouts the operations need."""

from math import prod

import torch

from weft.frontend import graph as fg
from weft.frontend.views import Act, Const, Host, Mix, is_identity, split_index
from weft.hw.errors import CompileError
from weft.qgraph import Origin

__all__ = ["Builder"]


class Builder:
    """Owns the growing `FloatGraph`; ``origin`` is the exported node being translated."""

    def __init__(self, host):
        self.graph = fg.FloatGraph(host=host)
        self.host = host
        self.origin = Origin()
        self._writers = {}
        self.memo = {}

    def error(self, text):
        """A `CompileError` that ends with where in the model it happened."""
        return CompileError(f"{text}, at {self.origin}")

    def emit(self, cls, rows, features, macs=0, origin=None, **fields):
        """Append ``cls(**fields)``; returns the name of its tensor ``[rows, features]``."""
        origin = origin or self.origin
        base = origin.node or cls.__name__[1:].lower()
        out, count = base, 1
        while out in self.graph.tensors:
            count += 1
            out = f"{base}.{count}"
        op = cls(out=out, origin=Origin(origin.node, origin.module, macs), **fields)
        self.graph.ops.append(op)
        self.graph.tensors[out] = fg.FTensor(out, int(rows), int(features))
        self._writers[out] = op
        return out

    def tensor(self, name):
        """Shape record of a tensor."""
        return self.graph.tensors[name]

    def writer(self, name):
        """The operation that writes a tensor."""
        return self._writers[name]

    def weight(self, value, what):
        """A constant as float32, checked to be finite."""
        if not isinstance(value, Const):
            raise self.error(f"{what} must be a constant of the model, not computed from its inputs")
        tensor = value.tensor.detach().float()
        if not torch.isfinite(tensor).all():
            raise self.error(f"{what} {value.name or ''} holds NaN or infinite values".replace("  ", " "))
        return tensor

    # -- host values ------------------------------------------------------------------------------------------

    def host_array(self, value):
        """Number of a host value that holds ``value``'s elements in row-major order and its shape."""
        if isinstance(value, Const):
            return self.host.add("const", [value.tensor], {}, value.shape, value.tensor.dtype)
        if value.index is None:
            if tuple(self.host.steps[value.base]["shape"]) == tuple(value.shape):
                return value.base
            return self.host.add("reshape", [self.host.ref(value.base), list(value.shape)], {}, value.shape,
                                 value.dtype)
        return self.host.add("take", [self.host.ref(value.base), value.index.to(torch.int32)], {}, value.shape,
                             value.dtype)

    def ids(self, value, limit):
        """The tensor of token ids ``[n, 1]`` for a host value."""
        key = ("ids", value.base, value.shape, None if value.index is None else tuple(value.index.reshape(-1).tolist()))
        if key not in self.memo:
            self.memo[key] = self.emit(fg.FInput, prod(value.shape), 1, kind="ids", value=self.host_array(value),
                                        limit=limit)
        op = self.writer(self.memo[key])
        op.limit = min(op.limit, limit)
        return self.memo[key]

    def activation(self, value):
        """``value`` (constant, host or activation) as an `Act`."""
        if isinstance(value, Act):
            return value
        if isinstance(value, Mix):
            from weft.frontend.rotary import materialize

            return materialize(self, value)
        if not isinstance(value, (Const, Host)):
            raise self.error("attention scores and norm statistics are only supported inside softmax and norm patterns")
        shape = value.shape
        features = shape[-1] if shape else 1
        rows = prod(shape[:-1])
        if isinstance(value, Const):
            values = self.weight(value, "constant").reshape(rows, features)
            return Act(self.emit(fg.FConst, rows, features, values=values), shape)
        if not value.dtype.is_floating_point:
            raise self.error(f"an activation must be floating point, not {str(value.dtype).removeprefix('torch.')}")
        key = ("float", value.base)
        if key not in self.memo:
            # The whole host array becomes the input, so that differently shaped views of it share one tensor.
            step = self.host.steps[value.base]["shape"]
            wide = step[-1] if step else 1
            self.memo[key] = self.emit(fg.FInput, prod(step[:-1]), wide, kind="float", value=value.base)
        return Act(self.memo[key], shape, value.index)

    # -- layouts ----------------------------------------------------------------------------------------------

    def plain(self, act):
        """The same value with its pending elementwise function applied."""
        if act.centered:
            raise self.error("subtracting the mean outside a layer norm is not supported")
        if act.expr is None:
            return act
        if "plain" not in act.cache:
            tensor, affine = self.tensor(act.base), act.expr.affine
            if affine == (1.0, 0.0):
                base = act.base
            elif affine is not None:
                base = self.emit(fg.FAffine, tensor.rows, tensor.features, x=act.base,
                                 scale=torch.full((tensor.features,), float(affine[0])),
                                 shift=torch.full((tensor.features,), float(affine[1])), origin=act.expr.origin)
            else:
                base = self.emit(fg.FUnary, tensor.rows, tensor.features, x=act.base, function=act.expr.function,
                                 label=act.expr.label, origin=act.expr.origin)
            act.cache["plain"] = Act(base, act.shape, act.index)
        return act.cache["plain"]

    def holds_rows(self, act, index):
        """Whether rows of the 2-D map ``index`` into ``act``'s base can be had, by the host or as rows of the base."""
        writer = self.writer(act.base)
        return isinstance(writer, fg.FInput) or split_index(index, self.tensor(act.base).features) is not None

    def rearranged(self, act, index=None):
        """``act`` with the rows it asks for (or those of the given 2-D map) made by the host.

        That is possible where it holds elements of an input of the model; any other value is returned as it is.
        """
        writer, tensor = self.writer(act.base), self.tensor(act.base)
        if not isinstance(writer, fg.FInput) or not act.shape:
            return act
        wanted = act.map.reshape(-1, act.shape[-1]) if index is None else index
        if split_index(wanted, tensor.features) is not None:
            return act
        key = ("rearranged", act.base, tuple(wanted.shape), wanted.numpy().tobytes())
        if key not in self.memo:
            dtype = self.host.steps[writer.value]["dtype"]
            array = self.host_array(Host(writer.value, tuple(wanted.shape), wanted, dtype))
            self.memo[key] = self.emit(fg.FInput, *wanted.shape, kind="float", value=array, origin=writer.origin)
        shape = act.shape if index is None else tuple(wanted.shape)
        return Act(self.memo[key], shape, None, act.expr, act.centered, given=act.given)

    def split(self, act, index=None):
        """``(rows, columns)`` of ``act`` seen as ``[all leading axes, last axis]`` (or of the given map)."""
        index = act.map.reshape(-1, act.shape[-1]) if index is None else index
        pair = split_index(index, self.tensor(act.base).features)
        if pair is None:
            raise self.error("this rearrangement mixes rows (tokens) with features, which only linear layers' "
                             "outputs per head and constants support")
        return pair

    def matrix(self, act, index=None):
        """Name of a tensor that holds ``act`` as ``[rows, last axis]`` (or in the order of the given 2-D map)."""
        given = self.rearranged(act, index)
        index = index if given is act else None
        act = self.plain(given)
        tensor = self.tensor(act.base)
        if index is None and act.index is None and act.shape and act.shape[-1] == tensor.features:
            return act.base
        rows, columns = self.split(act, index)
        return self.select(self.columns(act.base, columns), rows)

    def select(self, name, rows):
        """Rows ``rows`` of a tensor; itself where they are all rows in order."""
        tensor = self.tensor(name)
        if is_identity(rows, tensor.rows):
            return name
        key = ("rows", name, tuple(rows.tolist()))
        if key not in self.memo:
            self.memo[key] = self.emit(fg.FSelect, len(rows), tensor.features, x=name, index=rows)
        return self.memo[key]

    def columns(self, name, columns):
        """Features ``columns`` of a tensor, by cutting or reordering the weights that produce it."""
        tensor = self.tensor(name)
        if is_identity(columns, tensor.features):
            return name
        key = ("columns", name, tuple(columns.tolist()))
        if key in self.memo:
            return self.memo[key]
        op, n = self.writer(name), len(columns)
        match op:
            case fg.FLinear():
                out = self.emit(fg.FLinear, tensor.rows, n, macs=op.origin.macs * n // tensor.features, x=op.x,
                                weight=op.weight[columns], bias=op.bias[columns], given=op.given,
                                steps=None if op.steps is None else op.steps[columns], origin=op.origin)
            case fg.FUnary():
                out = self.emit(fg.FUnary, tensor.rows, n, x=self.columns(op.x, columns), function=op.function,
                                label=op.label, origin=op.origin)
            case fg.FAffine():
                out = self.emit(fg.FAffine, tensor.rows, n, x=self.columns(op.x, columns), scale=op.scale[columns],
                                shift=op.shift[columns], origin=op.origin)
            case fg.FRotary() if self._whole_heads(columns, op.head_dim):
                out = self.emit(fg.FRotary, tensor.rows, n, x=self.columns(op.x, columns), cos=op.cos, sin=op.sin,
                                head_dim=op.head_dim, origin=op.origin)
            case fg.FAdd() | fg.FMultiply():
                out = self.emit(type(op), tensor.rows, n, a=self.columns(op.a, columns),
                                b=self.columns(op.b, columns), origin=op.origin)
            case fg.FEmbed():
                out = self.emit(fg.FEmbed, tensor.rows, n, ids=op.ids, table=op.table[:, columns], origin=op.origin)
            case fg.FConst():
                out = self.emit(fg.FConst, tensor.rows, n, values=op.values[:, columns], origin=op.origin)
            case fg.FSelect():
                out = self.emit(fg.FSelect, tensor.rows, n, x=self.columns(op.x, columns), index=op.index, origin=op.origin)
            case _:
                raise self.error(f"taking features apart is supported after linear layers, embeddings and elementwise "
                                 f"functions, not after {type(op).__name__[1:].lower()} ({op.origin})")
        self.memo[key] = out
        return out

    @staticmethod
    def _whole_heads(columns, head_dim):
        first = columns[::head_dim]
        return bool((first % head_dim == 0).all()) and torch.equal(
            columns, (first[:, None] + torch.arange(head_dim)).reshape(-1))

    def rowwise(self, act):
        """For an operation that works row by row on whole feature vectors.

        Returns ``(name, rows, columns)``: apply the operation to all rows of tensor ``name``; ``columns`` (None: all,
        in order) of it are the value's features, and the value's rows are ``rows`` (None: all, in order) of the
        result. A permutation of rows is passed on, a selection is made first.
        """
        act = self.plain(self.rearranged(act))
        tensor = self.tensor(act.base)
        if act.index is None and act.shape[-1] == tensor.features:
            return act.base, None, None
        rows, columns = self.split(act)
        columns = None if is_identity(columns, tensor.features) else columns
        if is_identity(rows, tensor.rows):
            return act.base, None, columns
        if len(rows) == tensor.rows and bool((rows.sort().values == torch.arange(tensor.rows)).all()):
            return act.base, rows, columns
        return self.select(act.base, rows), None, columns

    def result(self, name, shape, rows=None):
        """The value of tensor ``name`` with its rows in the order ``rows``, as ``shape``."""
        if rows is None:
            return Act(name, tuple(shape))
        features = self.tensor(name).features
        index = rows[:, None] * features + torch.arange(features)
        return Act(name, tuple(shape), index.reshape(shape))
