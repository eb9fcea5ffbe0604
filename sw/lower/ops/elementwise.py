"""Residual adds and requantization: one REQUANT for each block."""

import numpy as np

from ..split import blocks

__all__ = ["lower_add", "lower_requant"]


def lower_add(ctx, op):
    """``clamp16(a + b)``: a requantized by one, b as residual."""
    a, b, out = (ctx.tensors[name] for name in (op.a, op.b, op.out))
    params = ctx.identity()
    for r0, r1, p0, p1 in blocks(ctx, [a, b, out], out.stored_rows, out.panels):
        views = [ctx.read(a, r0, r1, p0, p1), ctx.read(b, r0, r1, p0, p1), ctx.open(out, r0, r1, p0, p1)]
        ctx.builder.requant(views[0], r0, p0, views[2], r0, p0, r1 - r0, p1 - p0, params, hold=True,
                            residual=views[1], res_row=r0, res_panel=p0)
        ctx.commit(out, views[2], r0, r1, p0, p1)
        for view in views:
            ctx.release(view)


def lower_requant(ctx, op):
    """Per-channel rescale, then table."""
    x, out = ctx.tensors[op.x], ctx.tensors[op.out]
    slot = None if op.table is None else ctx.table(op.table)
    idle = 0
    if op.table is not None:
        zeros = np.flatnonzero(np.asarray(op.table) == 0)
        idle = int(zeros[0].astype(np.uint8).astype(np.int8)) if zeros.size else 0
    per_panel = ctx.config.param_tile_words * ctx.config.tiles_per_panel
    width = max(1, ctx.param_ring.words // 3 // per_panel)
    for r0, r1, p0, p1 in blocks(ctx, [x, out], out.stored_rows, out.panels):
        views = [ctx.read(x, r0, r1, p0, p1), ctx.open(out, r0, r1, p0, p1)]
        for q0 in range(p0, p1, width):
            q1 = min(q0 + width, p1)
            params = ctx.params(ctx.rescale_records(op.rescale, out.channels, q0, q1, idle), ("requant", id(op), q0, q1))
            ctx.builder.requant(views[0], r0, q0, views[1], r0, q0, r1 - r0, q1 - q0, params, table_slot=slot)
        ctx.commit(out, views[1], r0, r1, p0, p1)
        for view in views:
            ctx.release(view)
