"""Linear layers: products with streamed weights, drained panel by panel through the vector engine."""

import itertools

import numpy as np

from weft.hw.errors import CompileError

from ..context import OutOfScratchpad
from ..layout import ceil_div
from ..split import split, split_rows

__all__ = ["lower_linear"]

#: Tensor cycles one MATMUL should take at least, so that the vector engine's start-up hides.
_CYCLES = 512
#: Products that a layer is cut into at least where that keeps them longer: the last one's results come late.
_PRODUCTS = 64
#: N panels whose records are loaded together.
_RECORD_PANELS = 8
#: K panels in the first pieces of a layer: the product starts when they are there.
_FIRST_PANELS = 4


def lower_linear(ctx, op):
    """``rescale(x @ weight.T)``, with table or residual, for row blocks that fit scratchpad and accumulators."""
    _Linear(ctx, op).run()


class _Linear:
    def __init__(self, ctx, op):
        self.ctx, self.op, c = ctx, op, ctx.config
        self.x, self.out = ctx.tensors[op.x], ctx.tensors[op.out]
        self.residual = None if op.residual is None else ctx.tensors[op.residual]
        self.rows = self.out.stored_rows
        self.panel_words = c.k_tiles_per_panel * c.tiles_per_panel * c.weight_tile_words
        self.k_piece = max(1, min(self.x.panels, 4095 // c.k_tiles_per_panel,
                                  ctx.weight_ring.words // 8 // self.panel_words))
        self.block_rows = self._block_rows()
        #: Rows that share one product: what the accumulators hold of one panel, twice or more.
        self.sub_rows = self._sub_rows()
        self.group = self._group(_CYCLES)
        #: First N panel, N panels and first word of the records loaded last.
        self.records = (0, 0, 0)
        self.slot = None if op.table is None else ctx.table(op.table)
        #: Panels whose channels use the wide table.
        self.wide = op.wide // c.panel
        if op.wide:
            if op.wide % c.panel or self.out.channels.block < op.wide:
                raise CompileError(f"{op.origin}: the first {op.wide} channels have a table of their own, which must be "
                                   f"whole panels of {c.panel}")
            self.wide_slot = ctx.table(op.wide_table, keep=self.slot)

    def _block_rows(self):
        """Rows whose operands fit the scratchpad together; sets ``whole_k``: all of K at once."""
        ctx, g = self.ctx, self.ctx.granule
        free = ctx.heap.largest()
        results = sum(2 * t.line for t in (self.out, self.residual) if t is not None and t.resident is None)
        for self.whole_k in (True, False):
            operand = 0 if self.x.resident is not None else self.x.panels if self.whole_k else 2 * self.k_piece
            if not operand + results:
                return self.rows
            for copies in (1, 2):
                rows = (free - 16) // (operand * (copies if self.whole_k else 1) + results) // g * g
                if rows >= self.rows:
                    return self.rows
            if rows >= min(self.rows, max(g, self.ctx.config.rows)) or (rows >= g and not self.whole_k):
                return rows
        self.whole_k = False
        if rows < g:
            raise OutOfScratchpad(self.op.out)
        return rows

    def _sub_rows(self):
        c = self.ctx.config
        limit = min(4095, c.accumulator_words // (4 * c.tiles_per_panel)) // self.ctx.granule * self.ctx.granule
        limit = max(limit, self.ctx.granule)
        return min(self.block_rows, limit)

    def _group(self, cycles):
        """N panels in one product."""
        ctx, c = self.ctx, self.ctx.config
        k_panels = min(self.k_piece, self.x.panels)
        per_panel = max(self.sub_rows, c.rows) * k_panels * c.k_tiles_per_panel * c.tiles_per_panel
        group = ceil_div(max(cycles, self.out.panels * per_panel // _PRODUCTS), per_panel)
        group = min(group, max(1, ctx.weight_ring.words // 4 // (k_panels * self.panel_words)),
                    max(1, c.accumulator_words // (3 * self.sub_rows * c.tiles_per_panel)),
                    max(1, 4095 // (k_panels * c.k_tiles_per_panel * c.tiles_per_panel)))
        #: Most N panels whose records and results fit.
        self.widest = max(1, ctx.param_ring.words // 3 // (c.param_tile_words * c.tiles_per_panel))
        line = sum(2 * t.line for t in (self.out, self.residual) if t is not None and t.resident is None)
        if line:
            operand = 0 if self.x.resident is not None else self.x.panels if self.whole_k else 2 * self.k_piece
            free = ctx.heap.largest() - 16 - self.block_rows * operand
            self.widest = max(1, min(self.widest, free // (line * self.block_rows)))
        return min(group, self.widest, self.out.panels)

    def run(self):
        for r0, r1 in split_rows(self.rows, self.block_rows, self.ctx.granule):
            self.records = (0, 0, 0)
            a = self.ctx.open(self.x, r0, r1) if self.whole_k else None
            fetched = 0
            for number, (n0, n1) in enumerate(self._groups()):
                fetched = self._panels(r0, r1, n0, n1, a, fetched, number == 0)
            self.ctx.release(a)

    def _groups(self):
        """N panel ranges; the first one, whose K pieces arrive one by one, is wide enough to keep the array busy."""
        c, panels = self.ctx.config, self.out.panels
        wide = min(max(self.group, ceil_div(4, c.tiles_per_panel)), panels, self.widest,
                   max(1, c.accumulator_words // (2 * self.sub_rows * c.tiles_per_panel)),
                   max(1, self.ctx.weight_ring.words // 8 // self.panel_words))
        cuts = {0, wide, self.wide, panels, *(wide + n0 for n0, _ in split(panels - wide, self.group))}
        return list(itertools.pairwise(sorted(cuts)))

    def _pieces(self, first, width):
        """K panel ranges of one group."""
        size = self.k_piece if not first else max(1, min(_FIRST_PANELS, self.k_piece,
                                                         self.ctx.weight_ring.words // 4 // (width * self.panel_words)))
        return list(split(self.x.panels, size))

    def _panels(self, r0, r1, n0, n1, a, fetched, first):
        """All rows of the block times the weights of N panels ``n0..n1``; returns how many K panels are fetched."""
        ctx, c, op = self.ctx, self.ctx.config, self.op
        pieces = self._pieces(first, n1 - n0)
        params = self._params(n0, n1)
        sub_blocks = list(split_rows(r1 - r0, self.sub_rows, ctx.granule))
        held = None
        if len(sub_blocks) > 1 and (n1 - n0) * self.x.panels * self.panel_words <= ctx.weight_ring.words // 2:
            held = [ctx.weights(op, self.x.channels, self.out.channels, n0, n1, k0, k1) for k0, k1 in pieces]
        residual = None
        if self.residual is not None:
            residual = ctx.read(self.residual, r0, r1, n0, n1)
        view = ctx.open(self.out, r0, r1, n0, n1)
        tiles = (n1 - n0) * c.tiles_per_panel
        for s0, s1 in sub_blocks:
            s0, s1 = r0 + s0, r0 + s1
            acc = ctx.accumulators.alloc(tiles * (s1 - s0), align=1)
            if acc is None:
                raise CompileError(f"{op.origin}: {tiles * (s1 - s0)} accumulator words are not free")
            for number, (k0, k1) in enumerate(pieces):
                operand = a
                if a is None:
                    operand = ctx.open(self.x, s0, s1, k0, k1)
                    ctx.fetch(self.x, operand, s0, s1, k0, k1)
                elif k1 > fetched:
                    ctx.fetch(self.x, a, r0, r1, k0, k1)
                    fetched = k1
                weights = held[number] if held else \
                    ctx.weights(op, self.x.channels, self.out.channels, n0, n1, k0, k1)
                ctx.builder.matmul(operand, s0, s1 - s0, k0, (k1 - k0) * c.k_tiles_per_panel, tiles, acc, weights,
                                   accumulate=number > 0, unsigned=self.x.dtype == "uint8")
                if a is None:
                    ctx.release(operand)
            ctx.builder.requant(acc, 0, 0, view, s0, n0, s1 - s0, n1 - n0, params, residual=residual, res_row=s0,
                                res_panel=n0, table_slot=self.wide_slot if n0 < self.wide else self.slot)
            ctx.accumulators.free(acc)
        ctx.commit(self.out, view, r0, r1, n0, n1)
        ctx.release(view)
        ctx.release(residual)
        return fetched

    def _params(self, n0, n1):
        """First word of the records of N panels ``n0..n1``; loads some more with them."""
        c = self.ctx.config
        per_panel = c.param_tile_words * c.tiles_per_panel
        first, count, base = self.records
        if not first <= n0 < n1 <= first + count:
            end = self.wide if n0 < self.wide else self.out.panels
            count = max(n1 - n0, min(_RECORD_PANELS, end - n0, self.ctx.param_ring.words // 4 // per_panel))
            first, base = n0, self.ctx.params(*self._records(n0, n0 + count))
            self.records = first, count, base
        return base + (n0 - first) * per_panel

    def _records(self, n0, n1):
        op = self.op
        idle = 0
        if op.table is not None and n0 >= self.wide:
            # Padding channels look up an entry that is zero, where there is one.
            zeros = np.flatnonzero(np.asarray(op.table) == 0)
            idle = int(zeros[0].astype(np.uint8).astype(np.int8)) if zeros.size else 0
        return (self.ctx.rescale_records(op.rescale, self.out.channels, n0, n1, idle),
                ("records", id(op), n0, n1))
