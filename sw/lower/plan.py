"""Decides which tensors stay in the scratchpad for their whole life and which live in memory."""

from weft import qgraph

from .memory import Allocator

__all__ = ["lifetimes", "choose_residents", "placement_cost"]


def lifetimes(graph):
    """For each tensor the numbers of the operations that write it and that read it last: ``{name: (first, last)}``."""
    result = {}
    for number, op in enumerate(graph.ops):
        for name in op.writes:
            result[name] = (number, number)
        for name in op.reads:
            result[name] = (result[name][0], number)
    return result


def placement_cost(config, busy):
    """Cost of a place for a tensor: overlap with the banks of ``busy`` ranges, then (by the allocator) its address."""
    bank = max(1, config.scratchpad_words // config.scratchpad_banks)

    def cost(words):
        def of(base):
            mine = set(range(base // bank, (base + words - 1) // bank + 1))
            return sum(len(mine & set(range(b // bank, (b + n - 1) // bank + 1))) for b, n in busy)
        return of
    return cost


def _reserve(op, tensors, residents, heap_words):
    """Words an operation should find free for its strips."""
    outside = any(n in tensors and n not in residents for n in (*op.reads, *op.writes))
    if isinstance(op, qgraph.Attention):
        return heap_words // (3 if outside else 6)
    if outside:
        return heap_words // 3
    return 0


def _fails(graph, tensors, residents, heap, config):
    """Number of the first operation that does not fit, with the residents alive there; None if all fit."""
    spans = lifetimes(graph)
    allocator, places = Allocator(*heap), {}
    for number, op in enumerate(graph.ops):
        alive = [n for n in residents if spans[n][0] <= number <= spans[n][1]]
        cost = placement_cost(config, [(places[n], tensors[n].words) for n in op.reads if n in places])
        for name in op.writes:
            if name in residents:
                place = allocator.alloc(tensors[name].words, align=2, cost=cost(tensors[name].words))
                if place is None:
                    return number, alive
                places[name] = place
        if allocator.largest() < _reserve(op, tensors, residents, heap[1] - heap[0]):
            return number, alive
        for name in {*op.reads, *op.writes}:
            if name in places and spans[name][1] == number:
                allocator.free(places.pop(name))
    return None


def choose_residents(graph, tensors, heap, config, spilled=()):
    """Names of the tensors that stay in the scratchpad range ``heap``; ``spilled`` ones never do.

    Where they do not fit together, the one that occupies most words for the longest time goes to memory.
    """
    spans = lifetimes(graph)
    fixed = {n for op in graph.ops if isinstance(op, (qgraph.Input, qgraph.Constant)) for n in op.writes}
    # A result that nobody reads leaves for memory at once.
    residents = {n for n, t in tensors.items()
                 if n not in fixed and n not in spilled and spans[n][1] > spans[n][0] and t.words <= heap[1] - heap[0]}
    while True:
        failure = _fails(graph, tensors, residents, heap, config)
        if failure is None:
            return residents
        _, alive = failure
        if not alive:
            return residents
        residents.discard(max(alive, key=lambda n: (tensors[n].words, spans[n][1] - spans[n][0], n)))
