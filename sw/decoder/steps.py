"""A causal graph over all positions, computed some rows at a time: the same operations on fewer rows.

Everything but attention works on rows one by one, so the same weights, scales and tables serve any number of rows. What
depends on the position (learned position embeddings) is a table that the position indexes; attention reads the keys and
values of earlier rows from caches.
"""

from dataclasses import fields, replace

import numpy as np

from weft import qgraph
from weft.hw.errors import CompileError
from weft.lower.traffic import compulsory_bytes

__all__ = ["Steps"]

#: A version for fewer keys saves one part in so many of its work, or there is none.
_LEAST_SAVING = 32
_BY_ROW = (qgraph.Embed, qgraph.Add, qgraph.Linear, qgraph.Norm, qgraph.Requant, qgraph.Rotary, qgraph.Multiply)


class Steps:
    """The graphs that compute rows of a causal graph.

    ``graph``: a `weft.qgraph.QGraph` of token ids ``[length, 1]``, one row for each position; its first output is kept.
    ``length``: positions; ``chunk``: most rows of one run. A run of n rows may begin at every position below
    ``length``, so caches and tables have ``chunk`` rows more.

    Raises CompileError for a graph whose rows depend on later ones, or on anything but token ids.
    """

    def __init__(self, graph, length, chunk):
        self.length, self.chunk = length, chunk
        self._graph = _keep_first_output(graph)
        self._check()
        self._ops = [self._table(op) if isinstance(op, qgraph.Constant) else op for op in self._graph.ops]

    def _check(self):
        graph = self._graph
        inputs = [op for op in graph.ops if isinstance(op, qgraph.Input)]
        if len(inputs) != 1 or graph.tensors[inputs[0].out].dtype != "int32":
            raise CompileError("a decoder computes from its token ids alone, this model has "
                               + (", ".join(op.out for op in inputs) or "no input"))
        for op in graph.ops:
            if isinstance(op, qgraph.Attention):
                if not op.causal or op.mask is not None:
                    raise CompileError(f"{op.origin}: the attention is not causal; in a decoder every token attends to "
                                       "itself and all earlier ones")
            elif not isinstance(op, (*_BY_ROW, qgraph.Input, qgraph.Constant)):
                raise CompileError(f"{op.origin}: {type(op).__name__} does not work on tokens one by one, as a "
                                   "decoder's operations must")
        for tensor in graph.tensors.values():
            if tensor.rows != self.length:
                raise CompileError(f"{tensor.origin}: a tensor of {tensor.rows} rows, a decoder has one for each of "
                                   f"{self.length} positions")

    def _table(self, op):
        """Rows of a constant by position; those behind the last position only have to exist."""
        values = np.concatenate([op.values, np.repeat(op.values[-1:], self.chunk, axis=0)])
        return qgraph.Positions(out=op.out, origin=op.origin, values=values)

    def graph(self, rows, keys, least=0):
        """``rows`` rows of the graph at positions from ``least`` on, that attend to ``keys`` keys at most."""
        ops = [self._attention(op, rows, keys, least) if isinstance(op, qgraph.Attention) else op for op in self._ops]
        tensors = {name: replace(tensor, rows=rows) for name, tensor in self._graph.tensors.items()}
        outputs = [qgraph.Output(o.tensor, tensors[o.tensor].shape) for o in self._graph.outputs]
        return replace(self._graph, ops=ops, tensors=tensors, outputs=outputs)

    def _attention(self, op, rows, keys, least):
        values = {f.name: getattr(op, f.name) for f in fields(op)} | {"q_len": rows, "k_len": keys}
        return qgraph.CachedAttention(**values, capacity=self.length + self.chunk, least=least)

    def versions(self, rows, fewest):
        """``[(positions, graph)]`` for `weft.lower.lower_stepped`: for all keys, and for ``fewest`` (an even number of panels)
        times a power of two or one and a half of that, where it saves some part of the work, so that cost follows the position.
        """
        counts, steps = [self.length], [fewest, fewest * 3 // 2]
        while 2 * steps[-2] < self.length:
            steps.append(2 * steps[-2])
        for keys in reversed([keys for keys in steps if keys < self.length]):
            work = self.macs_per_row + keys * self.macs_per_key
            if (counts[-1] - keys) * self.macs_per_key * _LEAST_SAVING >= work:
                counts.append(keys)
        result, least = [], 0
        for keys in reversed(counts[1:]):
            positions = keys - rows + 1
            if positions > least:
                result.append((positions, self.graph(rows, keys, least)))
                least = positions
        return [*result, (self.length, self.graph(rows, self.length, least))]

    @property
    def macs_per_row(self):
        """Products of linear layers for each row."""
        return sum(op.origin.macs for op in self._graph.ops if not isinstance(op, qgraph.Attention)) // self.length

    @property
    def macs_per_key(self):
        """Products of attention for each pair of a row and a key it attends to."""
        return sum(2 * op.heads * op.head_dim for op in self._graph.ops if isinstance(op, qgraph.Attention))

    @property
    def row_bytes(self):
        """Bytes that each row adds: its token id, embedding rows, logits."""
        return compulsory_bytes(self.graph(1, 1)) - compulsory_bytes(self.graph(0, 0))

    @property
    def layer_macs(self):
        """``{layer: [for each row, for each pair of a row and a key]}`` of the two above, of layers that have any."""
        found = {}
        for op in self._graph.ops:
            row, key = op.origin.macs // self.length, 0
            if isinstance(op, qgraph.Attention):
                row, key = 0, 2 * op.heads * op.head_dim
            if row or key:
                have = found.setdefault(op.layer, [0, 0])
                have[0], have[1] = have[0] + row, have[1] + key
        return found

    @property
    def cache_row_bytes(self):
        """Bytes of keys and values that each position adds."""
        return sum(2 * op.kv_heads * op.head_dim for op in self._graph.ops if isinstance(op, qgraph.Attention))


def _keep_first_output(graph):
    """The graph without what only later outputs need."""
    needed = {graph.outputs[0].tensor}
    kept = []
    for op in reversed(graph.ops):
        if needed & set(op.writes):
            kept.append(op)
            needed |= {*op.reads, *op.writes}
    return replace(graph, ops=kept[::-1], outputs=graph.outputs[:1],
                   tensors={name: t for name, t in graph.tensors.items() if name in needed})
