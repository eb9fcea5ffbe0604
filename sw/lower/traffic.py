"""Memory traffic that no schedule avoids."""

from weft import qgraph

__all__ = ["compulsory_bytes"]

_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4, "bool": 1 / 8}


def compulsory_bytes(graph, stored=None):
    """Bytes that a run of a prepared graph must move: each weight once as it is stored, rows gathered, constant rows,
    inputs, results. ``stored(op)``: bytes of a linear layer's weights, where that is not what its form says.

    Padding does not count, and neither do multipliers and biases. Nor do caches, whose rows depend on the position.
    """
    def size(name):
        tensor = graph.tensors[name]
        return tensor.rows * tensor.features * _BYTES[tensor.dtype]

    constants = {op.out for op in graph.ops if isinstance(op, qgraph.Constant)}
    total = sum(size(name) for name in {*graph.inputs, *(o.tensor for o in graph.outputs)} - constants)
    weights = {}
    for op in graph.ops:
        if isinstance(op, qgraph.Linear):
            form = op.weight.size if op.compressed is None else op.compressed.bytes
            weights[id(op.weight)] = form if stored is None else stored(op)
        elif isinstance(op, qgraph.Embed):
            total += 2 * graph.tensors[op.out].rows * op.table.shape[1]
        elif isinstance(op, (qgraph.Constant, qgraph.Positions)):
            total += size(op.out)
    return int(total + sum(weights.values()))
