"""Chooses every tensor's channel layout: heads of attention tensors are padded to whole panels.

Operations that work channel by channel need one layout for all their tensors; linear layers convert for free, as
their weights are permuted at compile time.
"""

from dataclasses import replace

import numpy as np

from weft import qgraph
from weft.hw.errors import CompileError

from .layout import Channels

__all__ = ["choose_channels", "insert_conversions"]


class _Classes:
    """Union-find over tensor names; each class may have one required block size."""

    def __init__(self, names):
        self._parent = {name: name for name in names}
        self.block = {}

    def find(self, name):
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, a, b):
        a, b = self.find(a), self.find(b)
        if a == b:
            return True
        blocks = {self.block[x] for x in (a, b) if x in self.block}
        if len(blocks) > 1:
            return False
        self._parent[b] = a
        if blocks:
            self.block[a] = blocks.pop()
        return True

    def require(self, name, block):
        root = self.find(name)
        return self.block.setdefault(root, block) == block


def _together(op):
    """Tensors of an operation that share one layout."""
    if isinstance(op, qgraph.Add):
        return (op.a, op.b, op.out)
    if isinstance(op, qgraph.Linear):
        return (op.out,) if op.residual is None else (op.out, op.residual)
    if isinstance(op, qgraph.Norm):
        return (op.x, *op.writes)
    if isinstance(op, qgraph.Multiply):
        return (op.a, op.b, op.out)
    if isinstance(op, (qgraph.Requant, qgraph.SelectRows, qgraph.Rotary)):
        return (op.x, op.out)
    if isinstance(op, qgraph.Concat):
        return (*op.parts, op.out)
    return ()


def _block(features, panel):
    """``features`` of a block that may not share panels, None where they never do."""
    return None if features % panel == 0 else features


def _attention_blocks(op, classes, panel):
    """``(tensor, block)`` of an attention: queries and keys may be cut finer than heads, both alike."""
    whole = scores = _block(op.head_dim, panel)
    for name in (op.q, op.k):
        block = classes.block.get(classes.find(name), whole)
        if block is not None and op.head_dim % block == 0:
            scores = block
    return dict.fromkeys((op.v, op.out), whole) | dict.fromkeys((op.q, op.k), scores)


def _classes(graph, panel):
    """``(classes, conflicts)``: conflicts are ``(operation number, tensor)`` whose attention needs another layout."""
    classes = _Classes(graph.tensors)
    conflicts = []
    # Layouts that operations force come first, so that a conflict shows at an attention, where it can be mended.
    for op in graph.ops:
        names = _together(op)
        for name in names[1:]:
            classes.join(names[0], name)
        if isinstance(op, qgraph.Rotary):
            for name in (op.x, op.cos, op.sin):
                if not classes.require(name, _block(op.head_dim // 2, panel)):
                    raise CompileError(f"{op.origin}: tensor {name} is rotated with heads of two widths, or added to one "
                                       "of another width")
    for number, op in enumerate(graph.ops):
        if isinstance(op, qgraph.Attention):
            for name, block in _attention_blocks(op, classes, panel).items():
                if not classes.require(name, block):
                    conflicts.append((number, name))
    return classes, conflicts


def insert_conversions(graph, panel):
    """The graph with an identity layer wherever attentions need one tensor in two layouts; the results are equal."""
    _, conflicts = _classes(graph, panel)
    if not conflicts:
        return graph
    ops, tensors = list(graph.ops), dict(graph.tensors)
    for number, name in conflicts:
        op, tensor = ops[number], tensors[name]
        if name == op.out:
            raise CompileError(f"{op.origin}: the attention's result is used with heads of another width")
        copy = f"{name}.heads{op.head_dim}"
        features = tensor.features
        if copy not in tensors:
            tensors[copy] = replace(tensor, name=copy)
            ops[number] = [qgraph.Linear(
                out=copy, origin=replace(op.origin, macs=0), x=name, weight=np.eye(features, dtype=np.int8),
                rescale=qgraph.Rescale(np.zeros(features, np.int32), np.full(features, 2, np.int32),
                                       np.full(features, 1, np.int32), "int8"))] + \
                (ops[number] if isinstance(ops[number], list) else [ops[number]])
        group = ops[number] if isinstance(ops[number], list) else [ops[number]]
        group[-1] = replace(group[-1], **{field: copy for field in ("q", "k", "v") if getattr(group[-1], field) == name})
        ops[number] = group
    flat = [op for entry in ops for op in (entry if isinstance(entry, list) else [entry])]
    return replace(graph, ops=flat, tensors=tensors)


def choose_channels(graph, config):
    """`Channels` of every tensor that lives on the accelerator, by name."""
    classes, _ = _classes(graph, config.panel)
    result = {}
    for name, tensor in graph.tensors.items():
        block = classes.block.get(classes.find(name)) or tensor.features
        result[name] = Channels(tensor.features, min(block, tensor.features), config.panel)
    return result
