"""Rows of a table that the position of the run selects."""

from ..layout import pack_rows, round_up
from ..positions import copy_rows
from ..split import blocks
from ..tensors import Tensor

__all__ = ["lower_positions"]


def lower_positions(ctx, op):
    """Loads rows ``position ..`` of ``op.values``, all of which lie in memory."""
    c, out = ctx.config, ctx.tensors[op.out]
    count = round_up(len(op.values), c.dma_words)
    table = Tensor(op.out, count, out.channels, out.dtype, c, constant=True)
    table.memory = ctx.memory.constant(
        lambda: pack_rows(c, op.values, out.channels, count, out.dtype, table.row_major), ("positions", id(op.values)))
    moving = ctx.offsets.moving(table.row_bytes, 0, count - out.stored_rows)

    def load(*where, **options):
        ctx.builder.load(*where, tracked=False, **options)

    for r0, r1, p0, p1 in blocks(ctx, [out], out.stored_rows, out.panels):
        view = ctx.open(out, r0, r1, p0, p1)
        copy_rows(load, table, view, r0, r1, p0, p1, moving)
        ctx.commit(out, view, r0, r1, p0, p1)
        ctx.release(view)
