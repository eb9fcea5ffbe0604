"""Embedding: rows of a table in memory gathered by token ids."""

from weft.hw.errors import CompileError

from ..layout import pack_rows, round_up
from ..split import blocks, split

__all__ = ["lower_embed", "ids_chunk"]


def ids_chunk(config, rows):
    """``(ids in one INDEX, bytes between such chunks in memory)`` of a buffer of ``rows`` int32 ids."""
    count = min(config.index_entries, rows)
    return count, round_up(4 * count, config.dma_bytes)


def lower_embed(ctx, op):
    """Rows of ``op.table`` into int16 rows; ids come chunk by chunk, aligned to the DMA granule."""
    c, out, ids = ctx.config, ctx.tensors[op.out], ctx.tensors[op.ids]
    if not out.row_major:
        raise CompileError(f"{op.origin}: embedding rows of {out.channels.features} features are longer than the "
                           f"{4095 // 2 * c.panel} that this configuration gathers")
    pitch = 2 * out.panels * c.word_bytes
    table = ctx.memory.constant(lambda: pack_rows(c, op.table, out.channels, len(op.table), "int16"), ("embed", id(op.table)))
    chunk, chunk_bytes = ids_chunk(c, ids.stored_rows)
    for number, (c0, c1) in enumerate(split(out.stored_rows, chunk)):
        ctx.builder.index(ids.memory + number * chunk_bytes, c1 - c0)
        for r0, r1, _, _ in blocks(ctx, [out], c1 - c0, out.panels, whole_panels=True):
            view = ctx.open(out, c0 + r0, c0 + r1)
            ctx.builder.gather(table, pitch, view, c0 + r0, r0, r1 - r0)
            ctx.commit(out, view, c0 + r0, c0 + r1, 0, out.panels)
            ctx.release(view)
