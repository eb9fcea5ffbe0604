"""Remove features that cost cycles for nothing: pruned neurons, pruned heads, features that nobody reads.

A feature whose weights are zero is the same for every input: what its value adds to the layers that read it goes into
their biases. A feature that only zero weights read is not computed. Both are removed from the operations that compute
them and from the weights that read them, through elementwise operations and attention (whole heads there).
"""

from dataclasses import replace
from math import lcm

import torch

from weft.frontend import graph as fg
from weft.weights import pattern_of

__all__ = ["remove_unused"]

# What works feature by feature: operands and result have the same features.
_FEATUREWISE = (fg.FUnary, fg.FAffine, fg.FAdd, fg.FMultiply, fg.FSelect, fg.FConcat, fg.FRotary)


class _Constants:
    """Features that are the same for every input and row: ``fixed`` bool[features] and ``value`` float[features] by
    tensor; values of other features are 0."""

    def __init__(self, graph):
        self.graph, self.fixed, self.value = graph, {}, {}
        for op in graph.ops:
            features = graph.tensors[op.out].features
            fixed, value = self._of(op) or (torch.zeros(features, dtype=torch.bool), torch.zeros(features))
            finite = fixed & torch.isfinite(value)
            self.fixed[op.out], self.value[op.out] = finite, torch.where(finite, value, 0.0)

    def _of(self, op):
        fixed, value = ([known[name] for name in op.reads if name in known] for known in (self.fixed, self.value))
        match op:
            case fg.FLinear():
                moving = (op.weight != 0) & ~fixed[0]
                return ~moving.any(1), op.bias + op.weight @ _read(op, value[0])
            case fg.FUnary():
                return fixed[0], op.function(value[0])
            case fg.FAffine():
                return fixed[0], value[0] * op.scale + op.shift
            case fg.FAdd():
                return fixed[0] & fixed[1], value[0] + value[1]
            case fg.FMultiply():
                zero = (fixed[0] & (value[0] == 0)) | (fixed[1] & (value[1] == 0))
                return (fixed[0] & fixed[1]) | zero, torch.where(zero, 0.0, value[0] * value[1])
            case fg.FSelect():
                return fixed[0], value[0]
            case fg.FRotary():
                heads = (fixed[0] & (value[0] == 0)).reshape(-1, op.head_dim).all(1)
                return heads.repeat_interleave(op.head_dim), torch.zeros(len(value[0]))
            case fg.FAttention():
                # Probabilities sum to 1, except in rows that may attend no key, whose result is 0.
                v_fixed, v_value = self.fixed[op.v], self.value[op.v]
                if op.mask is not None or (op.causal and op.q_len > op.k_len):
                    v_fixed = v_fixed & (v_value == 0)
                return (_query_heads(op, v_fixed), _query_heads(op, v_value))
        return None


def _read(op, value):
    """Constant features as linear layer ``op`` reads them."""
    return value if op.given is None else op.given.apply(value)


def _query_heads(op, v):
    """Features of values as features of the result: each key head serves a group of query heads."""
    return v.reshape(op.kv_heads, 1, op.head_dim).expand(-1, op.heads // op.kv_heads, -1).reshape(-1)


class _Kept:
    """Which features of each tensor stay, bool[features]: the least sets that satisfy everyone."""

    def __init__(self, graph, constants):
        self.graph, self.fixed = graph, constants.fixed
        self.keep = {name: torch.zeros(t.features, dtype=torch.bool) for name, t in graph.tensors.items()}
        self.step = {name: 1 for name in graph.tensors}
        self._granules()
        for name in graph.tensors:
            if graph.is_output(name):
                self.keep[name][:] = True
        self.changed = True
        while self.changed:
            self.changed = False
            for op in reversed(graph.ops):
                self._satisfy(op)

    def add(self, name, wanted):
        step, keep = self.step[name], self.keep[name]
        wanted = keep | wanted
        if step > 1:
            wanted = wanted.reshape(-1, step).any(1).repeat_interleave(step)
        if not bool(wanted.any()):
            wanted = wanted.clone()
            wanted[:step] = True        # a tensor has at least one feature
        if bool((wanted != keep).any()):
            self.keep[name] = wanted
            self.changed = True

    def _granules(self):
        """Blocks of features of which all or none stay, where weights have a structure that removal must not break."""
        for op in self.graph.ops:
            if isinstance(op, fg.FLinear):
                op.find_blocks()
                if op.circulant:
                    self._coarsen(op.x, op.circulant)
                    self._coarsen(op.out, op.circulant)
                else:
                    self._coarsen(op.x, _sparse_step(op.weight, ~self.fixed[op.x]))

    def _coarsen(self, name, step):
        combined = lcm(self.step[name], step)
        if self.graph.tensors[name].features % combined == 0:
            self.step[name] = combined

    def _satisfy(self, op):
        match op:
            case fg.FLinear():
                self.add(op.out, torch.zeros_like(self.keep[op.out]))
                self.add(op.x, (op.weight[self.keep[op.out]] != 0).any(0) & ~self.fixed[op.x])
            case fg.FAttention():
                groups = self._groups(op.out, op.kv_heads)
                for name in (op.q, op.k, op.v):
                    groups = groups | self._groups(name, op.kv_heads)
                for name in (op.q, op.k, op.v, op.out):
                    size = len(self.keep[name]) // op.kv_heads
                    self.add(name, groups.repeat_interleave(size))
                if op.mask is not None:
                    self.add(op.mask, torch.ones_like(self.keep[op.mask]))
            case fg.FRotary():
                heads = self._groups(op.out, len(self.keep[op.out]) // op.head_dim)
                self._equal((op.out, op.x), heads.repeat_interleave(op.head_dim))
            case _ if isinstance(op, _FEATUREWISE):
                self._equal((op.out, *op.reads))
            case fg.FConst() | fg.FEmbed():
                self.add(op.out, torch.zeros_like(self.keep[op.out]))
                for name in op.reads:
                    self.add(name, torch.ones_like(self.keep[name]))
            case _:
                for name in (op.out, *op.reads):
                    self.add(name, torch.ones_like(self.keep[name]))

    def _groups(self, name, count):
        return self.keep[name].reshape(count, -1).any(1)

    def _equal(self, names, wanted=None):
        for name in names:
            wanted = self.keep[name] if wanted is None else wanted | self.keep[name]
        for name in names:
            self.add(name, wanted)


def _sparse_step(weight, moving):
    """4 where removing single input features would destroy a sparsity pattern that is worth more than the removal."""
    pattern = pattern_of(weight)
    if pattern.name == "dense":
        return 1
    live = (weight != 0).any(0) & moving
    kept, of = (int(n) for n in pattern.name.split(":"))
    return 1 if float(live.float().mean()) <= kept / of else of


def _cut(graph, op, kept, constants):
    """``op`` on the features that stay."""
    keep = kept.keep
    match op:
        case fg.FLinear():
            rows, columns = keep[op.out], keep[op.x]
            bias = op.bias + op.weight[:, ~columns] @ _read(op, constants.value[op.x])[~columns]
            weight = op.weight[rows][:, columns]
            share = weight.numel() / max(op.weight.numel(), 1)
            return replace(op, weight=weight.contiguous(), bias=bias[rows], origin=_scaled(op.origin, share),
                           steps=None if op.steps is None else op.steps[rows])
        case fg.FAttention():
            groups = kept._groups(op.out, op.kv_heads)
            share = float(groups.float().mean())
            count = int(groups.sum())
            return replace(op, heads=op.heads // op.kv_heads * count, kv_heads=count, origin=_scaled(op.origin, share))
        case fg.FAffine():
            return replace(op, scale=op.scale[keep[op.out]], shift=op.shift[keep[op.out]])
        case fg.FEmbed():
            return replace(op, table=op.table[:, keep[op.out]])
        case fg.FConst():
            return replace(op, values=op.values[:, keep[op.out]])
    return op


def _scaled(origin, share):
    return replace(origin, macs=round(origin.macs * share))


def _drop_zero_additions(graph, constants):
    """An addition of zeros is no addition: a block of the model whose last layer is pruned away disappears."""
    for op in [o for o in graph.ops if isinstance(o, fg.FAdd)]:
        for name, other in ((op.a, op.b), (op.b, op.a)):
            zero = constants.fixed[name] & (constants.value[name] == 0)
            if bool(zero.all()) and not graph.is_output(op.out):
                graph.ops.remove(op)
                for reader in graph.ops:
                    reader.rename(op.out, other)
                break


def _has_zeros(weight):
    """Whether a whole row or column is zero, without which nothing can be removed."""
    nonzero = weight != 0
    return not bool(nonzero.any(0).all() and nonzero.any(1).all())


@torch.no_grad()
def remove_unused(graph):
    """Remove features that are constant or that nobody reads; the graph is changed in place.

    Where weights are circulant, or sparse in a way that removing single inputs would end, whole blocks are removed. What
    they would have multiplied is counted in ``graph.removed``.
    """
    if not any(_has_zeros(op.weight) for op in graph.ops if isinstance(op, fg.FLinear)):
        return graph
    before = _macs(graph)
    _remove(graph)
    graph.removed = tuple(b - now for b, now in zip(before, _macs(graph)))
    return graph


def _macs(graph):
    """MACs of linear layers and of attention."""
    return [sum(op.origin.macs for op in graph.ops if isinstance(op, kind)) for kind in (fg.FLinear, fg.FAttention)]


def _remove(graph):
    constants = _Constants(graph)
    _drop_zero_additions(graph, constants)
    graph.prune()
    kept = _Kept(graph, constants)
    if all(bool(keep.all()) for keep in kept.keep.values()):
        return
    graph.ops = [_cut(graph, op, kept, constants) for op in graph.ops]
    graph.tensors = {name: replace(t, features=int(kept.keep[name].sum())) for name, t in graph.tensors.items()}
