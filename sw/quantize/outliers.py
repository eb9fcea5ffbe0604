"""Give the few neurons with rare large values a table of their own, so that they do not coarsen all the others.

The neurons of an activation function are interchangeable: the layers around it are reordered so that those with the
largest results come first, and the first ones share a second table. Costs nothing at run time.
"""

from math import lcm

import numpy as np
import torch

from weft.frontend import graph as fg
from weft.weights import pattern_of

__all__ = ["sort_neurons"]


def _wide(peak, block):
    """How many of the neurons, sorted by falling peak, the wide table serves: where the summed noise is least."""
    counts = np.arange(block, len(peak), block)
    if not len(counts):
        return 0
    noise = counts * peak[0] ** 2 + (len(peak) - counts) * peak[counts] ** 2
    best = int(counts[np.argmin(noise)])
    return best if noise.min() < 0.5 * len(peak) * peak[0] ** 2 else 0


def _has_zero_tiles(weight, block):
    """Whether any ``block`` x ``block`` tile of a matrix, none cut short, holds zeros only."""
    rows, columns = (size // block * block for size in weight.shape)
    tiles = (weight[:rows, :columns] != 0).reshape(rows // block, block, columns // block, block)
    return not bool(tiles.any(3).any(1).all())


def _together(producer, readers, block):
    """Neurons that must stay neighbours in their order: blocks of circulant weights, groups of sparse ones, and those of
    ``block`` where whole tiles of weights are zero."""
    sizes = [producer.circulant, *(r.circulant or (4 if pattern_of(r.weight).name != "dense" else 1) for r in readers)]
    if len(producer.weight) % block == 0 and any(_has_zero_tiles(layer.weight, block) for layer in (producer, *readers)):
        sizes.append(block)
    return lcm(*(size or 1 for size in sizes))


def sort_neurons(graph, plan, block):
    """Reorder neurons in ``graph`` and in the plan's observations; returns ``{unary output: wide neurons}``.

    ``plan.order`` keeps the order of each tensor that was reordered: which feature each one was.
    """
    result = {}
    for op in graph.ops:
        if not isinstance(op, fg.FUnary) or plan.is_relu(op) or op.x not in plan.activation:
            continue
        readers = plan.readers[op.out]
        if graph.is_output(op.out) or not readers or not all(
                isinstance(r, fg.FLinear) and r.given is None and r.steps is None for r in readers):
            continue
        producer, peak = plan.writers[op.x], plan.observed[op.out].peak
        together = _together(producer, readers, block)
        if len(peak) % together:
            continue
        # Groups of neighbours move as a whole.
        groups = np.argsort(-peak.reshape(-1, together).max(1), kind="stable")
        order = (groups[:, None] * together + np.arange(together)).reshape(-1)
        peak = peak.reshape(-1, together).max(1).repeat(together)[order]
        wide = _wide(peak, lcm(block, together))
        if not wide:
            continue
        # Only the wide ones move to the front; the others keep their order.
        order = np.concatenate([order[:wide], np.sort(order[wide:])])
        index = torch.from_numpy(order)
        producer.weight, producer.bias = producer.weight[index], producer.bias[index]
        producer.steps = None if producer.steps is None else producer.steps[index]
        for reader in readers:
            reader.weight = reader.weight[:, index]
        for name in (op.x, op.out):
            plan.observed[name] = plan.observed[name].part(order)
            plan.order[name] = order
        result[op.out] = wide
    return result
