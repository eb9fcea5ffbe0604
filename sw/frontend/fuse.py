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
            kept = producer.steps is not None and bool((op.scale != 0).all())
            return replace(producer, weight=producer.weight * op.scale[:, None],
                           bias=producer.bias * op.scale + op.shift, out=op.out,
                           steps=producer.steps * op.scale.abs() if kept else None)
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


def _merge_constants(graph):
    """``(x + c) + d`` becomes ``x + (c + d)`` for constants (token types and positions of an embedding)."""
    for op in [o for o in graph.ops if isinstance(o, fg.FAdd)]:
        for x, c in ((op.a, op.b), (op.b, op.a)):
            first, constant = graph.producer(x), graph.producer(c)
            if not isinstance(first, fg.FAdd) or not isinstance(constant, fg.FConst) or graph.is_output(x) \
                    or len(graph.consumers(x)) != 1:
                continue
            inner = next((o for o in (graph.producer(first.a), graph.producer(first.b)) if isinstance(o, fg.FConst)), None)
            if inner is not None and len(graph.consumers(inner.out)) == 1:
                rest = first.b if first.a == inner.out else first.a
                merged = replace(inner, values=inner.values + constant.values)
                graph.ops = [merged if o is inner else o for o in graph.ops if o is not first]
                op.a, op.b = rest, merged.out
                # The merged constant stands where the inner one stood, so it precedes its reader.
                break


def fuse(graph):
    """Fold every `FAffine` and added constant that a neighbour can absorb; the graph is changed in place."""
    graph.prune()
    _merge_constants(graph)
    graph.prune()
    for op in [o for o in graph.ops if isinstance(o, fg.FAffine)]:
        merged = _into_producer(graph, op)
        if merged is not None:
            graph.ops = [merged if o is op else o for o in graph.ops if o.out != op.x]
    for op in graph.ops:
        if isinstance(op, fg.FLinear) and op.given is None and op.steps is None:
            producer = graph.producer(op.x)
            while isinstance(producer, fg.FAffine):
                op.bias = op.bias + op.weight @ producer.shift
                op.weight = op.weight * producer.scale
                op.x = producer.x
                producer = graph.producer(op.x)
    graph.prune()
    return graph
