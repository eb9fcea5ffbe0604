"""Fold per-feature scales and shifts into the linear layers and norms around them."""

from dataclasses import replace

from weft.frontend import graph as fg

__all__ = ["fuse"]


def _into_producer(graph, op):
    """Fold ``op`` (an affine step) into what writes its input, if nothing else reads that."""
    producer = graph.producer(op.x)
    if len(graph.consumers(op.x)) != 1 or graph.is_output(op.x):
        return None
    match producer:
        case fg.FLinear():
            return replace(producer, weight=producer.weight * op.scale[:, None],
                           bias=producer.bias * op.scale + op.shift, out=op.out)
        case fg.FNorm():
            return replace(producer, gamma=producer.gamma * op.scale, beta=producer.beta * op.scale + op.shift,
                           out=op.out)
        case fg.FAffine():
            return replace(producer, scale=producer.scale * op.scale, shift=producer.shift * op.scale + op.shift,
                           out=op.out)
        case fg.FEmbed():
            return replace(producer, table=producer.table * op.scale + op.shift, out=op.out)
        case fg.FConst():
            return replace(producer, values=producer.values * op.scale + op.shift, out=op.out)
    return None


def fuse(graph):
    """Fold every `FAffine` that a neighbour can absorb; returns the graph, changed in place."""
    graph.prune()
    for op in [o for o in graph.ops if isinstance(o, fg.FAffine)]:
        merged = _into_producer(graph, op)
        if merged is not None:
            graph.ops = [merged if o is op else o for o in graph.ops if o.out != op.x]
    for op in graph.ops:
        if isinstance(op, fg.FLinear):
            producer = graph.producer(op.x)
            while isinstance(producer, fg.FAffine):
                op.bias = op.bias + op.weight @ producer.shift
                op.weight = op.weight * producer.scale
                op.x = producer.x
                producer = graph.producer(op.x)
    graph.prune()
    return graph
