"""Rows moved: chosen from one tensor or from several, by REQUANTs that change nothing."""

import numpy as np

from ..split import blocks

__all__ = ["lower_concat", "lower_select_rows"]


def lower_select_rows(ctx, op):
    """``x[index]``."""
    _move(ctx, [ctx.tensors[op.x]], ctx.tensors[op.out], op.index)


def lower_concat(ctx, op):
    """Rows of several tensors stacked, in the order of an index."""
    _move(ctx, [ctx.tensors[part] for part in op.parts], ctx.tensors[op.out], op.index)


def _runs(index, starts):
    """``(first output row, part, first row in it, step, rows)``: the longest arithmetic runs of ``index`` in one part.

    ``starts``: the number of each part's first row among all stacked rows.
    """
    part = np.searchsorted(starts, index, side="right") - 1
    start = 0
    while start < len(index):
        stop, step = start + 1, 0
        if stop < len(index) and index[stop] > index[start] and part[stop] == part[start]:
            step = int(index[stop] - index[start])
            while stop < len(index) and index[stop] - index[stop - 1] == step and part[stop] == part[start]:
                stop += 1
        yield start, int(part[start]), int(index[start] - starts[part[start]]), step, stop - start
        start = stop


def _move(ctx, parts, out, index):
    """Runs of equally spaced rows are copied by identity requantization."""
    index = np.asarray(index, np.int64)
    # Rows that only fill the DMA granule repeat the last one.
    index = np.concatenate([index, np.repeat(index[-1:], out.stored_rows - len(index))])
    starts = np.cumsum([0] + [part.rows for part in parts[:-1]])
    params = ctx.identity()
    outside = [part for part in parts if part.resident is None]
    for r0, r1, p0, p1 in blocks(ctx, [out, *outside[:1]], out.stored_rows, out.panels):
        result = ctx.open(out, r0, r1, p0, p1)
        for first, number, source, step, count in _runs(index[r0:r1], starts):
            x = parts[number]
            # A strided view of the source: rows `step` apart, numbered as if they were neighbours.
            stride = step * x.line * (x.panels if x.row_major else 1)
            # From memory only neighbours come together.
            size = count if (x.resident is not None and stride <= 4095) or step == 1 else 1
            for done in range(0, count, size):
                rows = min(size, count - done)
                row = source + done * step
                view = ctx.read(x, row, row + rows if x.resident is None else row + 1, p0, p1)
                strided = type(view)(view.address(row, p0), view.row_stride * max(1, step) if rows > 1 else view.row_stride,
                                     view.panel_stride, view.element, p1 - p0, 0, p0)
                ctx.builder.requant(strided, 0, p0, result, r0 + first + done, p0, rows, p1 - p0, params, hold=True)
                ctx.release(view)
        ctx.commit(out, result, r0, r1, p0, p1)
        ctx.release(result)
