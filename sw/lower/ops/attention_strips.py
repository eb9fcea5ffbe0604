"""How many queries one job of an attention takes."""

from ..context import OutOfScratchpad
from ..layout import mask_row_words, round_up
from ..split import split_rows

__all__ = ["JOBS", "Strips"]

#: Jobs whose accumulators and row states are held at once.
JOBS = 2


class Strips:
    """The choice of `AttentionLowering`, which has the attributes read here, of its strips' length."""

    def _strip_rows(self):
        """Query rows of one job."""
        ctx, c, g = self.ctx, self.ctx.config, self.ctx.granule
        # Scores of two blocks for each job; at least those of one block, and the context of each job.
        most = JOBS * (2 * self.block_panels + self.panels) * c.tiles_per_panel
        least = (self.block_panels + JOBS * self.panels) * c.tiles_per_panel
        rows = ctx.accumulators.largest() // most or ctx.accumulators.largest() // least
        rows = min(rows, ctx.states.largest() // JOBS, 2048)
        words = 2 * self.block_panels + 2 * sum(
            n for t, n in ((self.q, self.depth), (self.out, self.panels)) if t.resident is None)
        block = min(self.op.block, round_up(self.op.k_len, g)) * self.outside
        fixed = 16
        if self.mask is not None:
            row = mask_row_words(c, self.op.k_len)
            if self._mask_rows() > 1:
                words += 2 * row
            else:
                fixed += 2 * row
        # Keys and values of the next block load while those of this one are used, if there is room for both.
        fitting = []
        for copies in (2, 1):
            limit = min(rows, (ctx.heap.largest() - fixed - copies * block) // words, round_up(self.op.q_len, g))
            if limit >= g:
                fitting.append((self._block_cost(limit // g * g, block, copies), -(limit // g * g)))
        if not fitting:
            raise OutOfScratchpad(self.op.out)
        limit = -min(fitting)[1]
        #: All keys and values of a head stay in the scratchpad while it is computed, with room for the next one's.
        self.keeps = self.outside > 0 and (
            2 * round_up(self.op.k_len, g) * self.outside + fixed + limit * words <= ctx.heap.largest())
        if ctx.tuning.query_rows:
            # Array and vector engine meet in the accumulators' banks where products are shorter.
            return min(limit, round_up(max(ctx.tuning.query_rows, 2 * c.rows, 2 * c.cols), g))
        if self.op.causal:
            unit = round_up(c.rows, g)
            return min((size for size in (*range(unit, limit, unit), limit)), key=self._causal_cost)
        return limit

    def _block_cost(self, rows, words, copies):
        """Cycles for each row that a block of keys and values, ``words`` words from memory, takes at least."""
        c = self.ctx.config
        tiles = self.block_panels * c.tiles_per_panel * self.depth * c.k_tiles_per_panel
        array = JOBS * (max(rows, c.cols) + max(rows, c.rows)) * tiles
        load = words * c.word_bytes / c.data_bytes
        return (max(array, load) if copies > 1 else array + load) / (JOBS * min(rows, self.op.q_len))

    def _causal_cost(self, size):
        """Cycles that the array or the bus takes at least for a head in strips of ``size`` rows: short ones compute less
        above the diagonal, but each pair may take the keys and values from memory again."""
        op, c = self.op, self.ctx.config
        array = words = 0
        for r0, r1 in split_rows(op.q_len, size, self.ctx.granule):
            keys = min(round_up(r1 + op.k_len - op.q_len, c.panel), round_up(op.k_len, c.panel))
            array += max(r1 - r0, c.cols) * keys // c.cols * self.depth * c.k_tiles_per_panel
            for key in range(0, keys, c.panel):
                rows = r1 - max(r0, key - op.k_len + op.q_len)
                array += max(rows, c.rows) * c.k_tiles_per_panel * self.panels * c.tiles_per_panel
            words = keys * self.outside if self.keeps else words + keys * self.outside / JOBS
        return max(array, words * c.word_bytes / c.data_bytes * 1.1), -size

    def _mask_rows(self):
        """Mask rows of one batch element: 1 or one for each query."""
        return 1 if self.mask.rows <= self.op.batch else self.op.q_len
