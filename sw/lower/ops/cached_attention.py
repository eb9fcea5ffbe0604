"""Attention whose keys and values stay in memory between runs."""

from ..layout import round_up
from ..positions import POSITION, copy_rows
from ..tensors import Tensor
from .attention import AttentionLowering

__all__ = ["lower_cached_attention"]


def lower_cached_attention(ctx, op):
    """Appends the new keys and values to the caches, then attends to everything in them."""
    _CachedAttention(ctx, op).run()


class _CachedAttention(AttentionLowering):
    """Every key block of the cache is computed; what lies behind a query's position is masked, which changes no bit."""

    query_register = POSITION

    def __init__(self, ctx, op):
        self.caches = {name: self._cache(ctx, op, name) for name in (op.k, op.v)}
        super().__init__(ctx, op)

    @staticmethod
    def _cache(ctx, op, name):
        c, new = ctx.config, ctx.tensors[name]
        cache = Tensor(f"{name}.cache", round_up(op.capacity, c.dma_words), new.channels, new.dtype, c)
        cache.memory = ctx.memory.buffer(cache.name, cache.words * c.word_bytes, "state")
        return cache

    def keys_and_values(self):
        return self.caches[self.op.k], self.caches[self.op.v]

    def run(self):
        for name, cache in self.caches.items():
            self._append(self.ctx.tensors[name], cache)
        super().run()

    def _append(self, new, cache):
        """Stores the new rows; tiles are laid out as the product reads them, so each panel is one run."""
        ctx, rows = self.ctx, new.stored_rows
        least = self.op.least // ctx.granule * ctx.granule
        moving = ctx.offsets.moving(cache.row_bytes, least, cache.rows - rows)
        view = ctx.read(new, 0, rows)
        copy_rows(ctx.builder.store, cache, view, 0, rows, 0, new.panels, moving)
        ctx.release(view)

    def visible(self, job):
        return self.blocks

    def position(self, row, job):
        return row

    def visible_panels(self, job, key, panels):
        return [(0, panels, 0)]

    def visible_end(self, row1, job, number):
        return self.blocks[number][1]
