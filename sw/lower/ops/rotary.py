"""Rotary embedding: products of rows with the tables of their positions, the rotated features by panel strides.

The halves of a head are padded to whole panels (`weft.lower.channels`), so the partner of a panel is another panel of the
same head, and one REQUANT serves the same panel of all heads.
"""

from dataclasses import replace

import numpy as np

from ..layout import pack_records
from ..split import blocks
from ..tensors import Tensor

__all__ = ["lower_rotary"]


def _every(view, row, panel, step, count):
    """Panels ``panel``, ``panel + step``, ...: ``count`` of them, seen as neighbours; step 0 repeats one panel."""
    return replace(view, base=view.address(row, panel), panel_stride=step * view.panel_stride, panels=count, row0=row,
                   panel0=0, temporary=False, tensor="")


def lower_rotary(ctx, op):
    """``x * cos`` into the result, the partners of x times ``sin`` beside it, then their sum."""
    c = ctx.config
    x, out, cos, sin = (ctx.tensors[name] for name in (op.x, op.out, op.cos, op.sin))
    turned = Tensor(f"{op.out}.turned", out.rows, out.channels, "int16", c)
    size = cos.panels
    heads = x.panels // size
    for r0, r1, _, _ in blocks(ctx, [x, out, turned, cos, sin], out.stored_rows, out.panels, whole_panels=True):
        rows = r1 - r0
        views = [ctx.read(x, r0, r1), ctx.read(cos, r0, r1), ctx.read(sin, r0, r1), ctx.open(out, r0, r1),
                 ctx.open(turned, r0, r1)]
        source, *tables, result, partner = views
        scale = ctx.params(pack_records(c, np.zeros(c.cols), 2, op.fraction + 1, 0), ("rotary", op.fraction))
        for table, target, offset in ((tables[0], result, 0), (tables[1], partner, size // 2)):
            for p in range(size):
                ctx.builder.requant(_every(source, r0, (p + offset) % size, size, heads), r0, 0,
                                    _every(target, r0, p, size, heads), r0, 0, rows, heads, scale, hold=True,
                                    factor=_every(table, r0, p, 0, heads), res_row=r0)
        ctx.builder.requant(result, r0, 0, result, r0, 0, rows, out.panels, ctx.identity(), hold=True, residual=partner,
                            res_row=r0)
        ctx.commit(out, result, r0, r1, 0, out.panels)
        for view in views:
            ctx.release(view)
