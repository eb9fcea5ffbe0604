"""Cutting ranges into pieces."""

import itertools

from .layout import ceil_div, round_up

__all__ = ["by_turns", "growing", "shrinking", "split", "split_rows"]


def split(total, size):
    """``(start, stop)`` pieces of at most ``size`` that cover ``0..total``."""
    return [(start, min(start + size, total)) for start in range(0, total, size)]


def split_rows(total, size, granule):
    """Pieces of nearly equal length, at most ``size`` (a multiple of ``granule``), that start at multiples of it."""
    if total <= size:
        return [(0, total)]
    return split(total, round_up(ceil_div(total, ceil_div(total, size)), granule))


def shrinking(rows, last, granule):
    """``rows`` cut so that the last piece has ``last`` and each one before it a third more, in whole granules: so
    that the vector engine is done with one when the array is with the next."""
    stops, size = [rows], max(last, granule)
    while stops[0] >= 2 * size:
        stops.insert(0, stops[0] - size)
        size = round_up(size * 4 // 3 + 1, granule)
    return list(itertools.pairwise([0, *stops]))


def growing(rows, first):
    """``rows`` cut into a piece of ``first`` and others twice as long, but none shorter at the end."""
    stops = [0, *range(first, rows - 2 * first + 1, 2 * first)]
    return list(itertools.pairwise([*stops, rows]))


def by_turns(rows, columns):
    """Blocks ``(row0, row1, column0, column1)`` that cover pieces of rows times pieces of columns when these come by turns,
    columns first: a new piece with all that came of the other ones."""
    result = []
    for step in range(max(len(rows), len(columns))):
        if step < len(columns):
            result.append((0, rows[max(0, min(step, len(rows)) - 1)][1], *columns[step]))
        if 0 < step < len(rows):
            result.append((*rows[step], 0, columns[min(step, len(columns) - 1)][1]))
    return result


def blocks(ctx, tensors, rows, panels, limit=None, whole_panels=False):
    """``(row0, row1, panel0, panel1)`` blocks for which temporaries of all ``tensors`` in memory fit twice.

    Rows are split before panels (never with ``whole_panels``); ``limit``: most rows in a block.
    """
    free = max(0, ctx.heap.largest() - 8 * len(tensors))
    line = sum(t.line for t in tensors if t.resident is None)
    limit = min(rows, 4095, limit or rows)
    width = panels
    if line:
        fitting = free // (2 * line * width)
        if fitting < ctx.granule:
            fitting = free // (line * width)
        if fitting < ctx.granule and not whole_panels:
            width = max(1, free // (2 * line * ctx.granule))
            fitting = ctx.granule
        limit = min(limit, max(fitting, ctx.granule))
    if limit < rows:
        limit = max(ctx.granule, limit // ctx.granule * ctx.granule)
    for r0, r1 in split_rows(rows, limit, ctx.granule):
        for p0, p1 in split(panels, width):
            yield r0, r1, p0, p1
