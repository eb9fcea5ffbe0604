"""Linear layers: products with streamed weights, drained panel by panel through the vector engine."""

import itertools

import numpy as np

from weft.hw.errors import CompileError

from ..context import OutOfScratchpad
from ..layout import ceil_div, round_up
from ..split import growing, shrinking, split, split_rows

__all__ = ["lower_linear"]

#: Bus cycles that a layer's own weights and operand cost where a second layer's, spills and records need the bus, too.
_BUS_SHARE = 1.15

#: K pieces with which a layer begins until the bus is ahead of the array.
_BEGIN_PIECES = 4
#: N panels whose records are loaded together.
_RECORD_PANELS = 8


def _halvings(number, granule=1):
    """``number``, its half, its quarter, ... down to ``granule``, in its multiples."""
    while number:
        yield number
        number = number // 2 // granule * granule


def lower_linear(ctx, op):
    """``rescale(x @ weight.T)``, with table or residual, for row blocks that fit scratchpad and accumulators."""
    _Linear(ctx, op).run()


class _Linear:
    def __init__(self, ctx, op):
        self.ctx, self.op, c = ctx, op, ctx.config
        self.x, self.out = ctx.tensors[op.x], ctx.tensors[op.out]
        self.residual = None if op.residual is None else ctx.tensors[op.residual]
        self.rows = self.out.stored_rows
        #: How the weights are streamed, and words that one panel of outputs takes of them for one of inputs, at most.
        self.weights = ctx.streamed(op, self.x, self.out)
        self.panel_words = self.weights.panel_words
        self.least_group = min(self.weights.least_group, self.out.panels)
        #: N panels without any weight, whose results are those of sums of zero.
        self.zero = self.weights.zero_panels
        self.k_piece = max(1, min(self.x.panels, 4095 // c.k_tiles_per_panel,
                                  ctx.weight_ring.words // 8 // (self.least_group * self.panel_words)))
        granule = self.granule = self.weights.granule
        self.k_piece = max(self.k_piece // granule * granule, granule)
        #: ``whole_k``: all of K lies in the scratchpad, for ``block_rows`` rows; else it comes in pieces, for every group
        #: of N panels again. ``sub_rows``: rows that share one product, what the accumulators hold of one panel twice or more.
        self.block_rows, self.whole_k, self.k_piece, self.stream_group = self._blocking()
        period = self.weights.period
        self.k_piece = max(self.k_piece // period * period, min(self.k_piece, period))
        self.sub_rows = self._sub_rows()
        self.group = self._group(ctx.tuning.product_cycles)
        #: N panels at the end (before a norm) and at the beginning (behind one) that are computed strip by strip, so that
        #: the norm of one strip of rows hides behind the product of another; 0: none.
        self.head = self._strips(5 * self.x.panels * c.k_tiles_per_panel) if op.x in ctx.striped else 0
        self.tail = self._strips(5 * self.out.panels * c.tiles_per_panel) if op.out in ctx.striped else 0
        #: First N panel, N panels and first word of the records loaded last.
        self.records = (0, 0, 0)
        #: Piece of weights loaded last for each range of K panels, and the N panel behind it.
        self.loaded = {}
        self.slot = None if op.table is None else ctx.table(op.table)
        #: Panels whose channels use the wide table.
        self.wide = op.wide // c.panel
        if op.wide:
            if op.wide % c.panel or self.out.channels.block < op.wide:
                raise CompileError(f"{op.origin}: the first {op.wide} channels have a table of their own, which must be "
                                   f"whole panels of {c.panel}")
            self.wide_slot = ctx.table(op.wide_table, keep=self.slot)

    def _blocking(self):
        """``(rows, whole K?, K panels in a piece, N panels in a group or None)``: what fits the scratchpad and costs least.

        Raises `OutOfScratchpad` if nothing fits.
        """
        ctx, g = self.ctx, self.ctx.granule
        free = ctx.heap.largest() - 16
        results = sum(2 * t.line for t in (self.out, self.residual) if t is not None and t.resident is None)
        if self.x.resident is not None and not results:
            return self.rows, True, self.k_piece, None
        fitting = []
        operand = 0 if self.x.resident is not None else self.x.panels
        # Of several blocks the next one's operand is loaded while this one's is read.
        for copies in (1, 2):
            rows = free // (copies * operand + results)
            if rows >= self.rows or copies == 2 and rows >= g:
                fitting.append((min(self.rows, rows if rows >= self.rows else rows // g * g), True, self.k_piece, None))
                break
        if operand:
            fitting += self._streamed(free, results)
        if not fitting:
            raise OutOfScratchpad(self.op.out)
        return min(fitting, key=lambda blocking: self._cost(*blocking))

    def _streamed(self, free, results):
        """Blockings whose operand comes in pieces of K, for every group of N panels again."""
        ctx, c, g = self.ctx, self.ctx.config, self.ctx.granule
        for k_piece in _halvings(self.k_piece, self.granule):
            groups = min(self.out.panels, max(1, ctx.weight_ring.words // 4 // (k_piece * self.panel_words)),
                         max(1, ctx.param_ring.words // 3 // (c.param_tile_words * c.tiles_per_panel)))
            for group in _halvings(groups):
                rows = min(free // (2 * k_piece + results * group), c.accumulator_words // 2 // (group * c.tiles_per_panel),
                           4095)
                rows = self.rows if rows >= self.rows else rows // g * g
                if rows >= g:
                    yield rows, False, k_piece, group

    def _cost(self, rows, whole_k, k_piece, group):
        """``(cycles, beats)``: cycles that the array or the bus takes at least."""
        c = self.ctx.config
        tiles = self.x.panels * c.k_tiles_per_panel * self.out.panels * c.tiles_per_panel
        blocks = split_rows(self.rows, rows, self.ctx.granule)
        array = tiles * sum(self.weights.cycles(stop - start) for start, stop in blocks)
        words = len(blocks) * tiles * self.panel_words // (c.k_tiles_per_panel * c.tiles_per_panel)
        if self.x.resident is None:
            words += self.rows * self.x.panels * (1 if whole_k else ceil_div(self.out.panels, group))
        beats = words * c.word_bytes // c.data_bytes
        # A piece's product waits for its loads now and then; the bus has more to do than weights and operand.
        return max(array * (1 + 1 / (8 * (self.x.panels if whole_k else k_piece))), beats * _BUS_SHARE), beats

    def _sub_rows(self):
        c = self.ctx.config
        if not self.whole_k:
            return self.block_rows
        limit = min(4095, c.accumulator_words // (4 * c.tiles_per_panel)) // self.ctx.granule * self.ctx.granule
        limit = max(limit, self.ctx.granule)
        return min(self.block_rows, limit)

    def _group(self, cycles):
        """N panels in one product."""
        ctx, c = self.ctx, self.ctx.config
        if not self.whole_k:
            self.widest = self.stream_group
            return self.stream_group
        k_panels = min(self.k_piece, self.x.panels)
        per_panel = self.weights.pace(self.sub_rows) * k_panels * c.k_tiles_per_panel * c.tiles_per_panel
        group = ceil_div(max(cycles, self.out.panels * per_panel // ctx.tuning.products), per_panel)
        group = max(group, self.least_group)
        group = min(group, max(1, ctx.weight_ring.words // 4 // (k_panels * self.panel_words)),
                    max(1, c.accumulator_words // (3 * self.sub_rows * c.tiles_per_panel)),
                    max(1, 4095 // (k_panels * c.k_tiles_per_panel * c.tiles_per_panel)))
        #: Most N panels whose records and results fit.
        self.widest = max(1, ctx.param_ring.words // 3 // (c.param_tile_words * c.tiles_per_panel))
        line = sum(2 * t.line for t in (self.out, self.residual) if t is not None and t.resident is None)
        if line:
            free = ctx.heap.largest() - 16 - self.block_rows * (0 if self.x.resident is not None else self.x.panels)
            self.widest = max(1, min(self.widest, free // (line * self.block_rows)))
        return min(group, self.widest, self.out.panels)

    def _edge(self, name, rows):
        """``rows`` of the products with which a layer begins or ends whose tensor ``name`` the host knows; 0: all."""
        return rows // self.ctx.granule * self.ctx.granule if self.whole_k and name in self.ctx.edges else 0

    @property
    def begin_rows(self):
        """Rows of the first product of a layer whose operand the host writes, 0: all."""
        return self._edge(self.op.x, self.ctx.tuning.edge_rows)

    @property
    def end_rows(self):
        """Rows of the last product of a layer whose results the host reads, 0: all."""
        return self._edge(self.op.out, self.ctx.tuning.end_rows)

    @property
    def strip(self):
        """Rows of a strip: some part of a block, in whole DMA granules."""
        return round_up(ceil_div(self.block_rows, self.ctx.tuning.strips), self.ctx.granule)

    def _strips(self, cycles):
        """N panels whose product takes ``cycles`` for a row, as far as all their weights fit half of the ring; 0 if
        strips make no sense."""
        c = self.ctx.config
        if not self.whole_k or self.strip >= self.block_rows or self.strip < c.weight_steps:
            return 0
        row = ceil_div(self.x.panels, self.granule) * c.k_tiles_per_panel * c.tiles_per_panel
        return min(ceil_div(cycles, row), self.out.panels, self.widest,
                   self.ctx.weight_ring.words // 2 // (self.x.panels * self.panel_words),
                   c.accumulator_words // (3 * self.strip * c.tiles_per_panel))

    def run(self):
        for r0, r1 in split_rows(self.rows, self.block_rows, self.ctx.granule):
            self.records, self.loaded = (0, 0, 0), {}
            a = self.ctx.open(self.x, r0, r1) if self.whole_k else None
            fetched = 0
            for number, (n0, n1) in enumerate(self._groups()):
                rows = self.strip if n1 <= self.head or n0 >= self.out.panels - self.tail else self.sub_rows
                fetched = self._panels(r0, r1, n0, n1, a, fetched, number == 0, min(rows, self.sub_rows))
            self.ctx.release(a)

    def _groups(self):
        """N panel ranges; the first one, whose K pieces arrive one by one, is wide enough to keep the array busy."""
        c, panels = self.ctx.config, self.out.panels
        if not self.whole_k:
            return self._cuts(split(panels, self.group))
        wide = min(max(self.group, ceil_div(4, c.tiles_per_panel)), panels, self.widest,
                   max(1, c.accumulator_words // (2 * self.sub_rows * c.tiles_per_panel)),
                   max(1, self.ctx.weight_ring.words // 8 // self.panel_words))
        if self.begin_rows:
            # The array waits for the weights of all of them, and works on them while the next operand panel comes.
            wide = min(wide, max(ceil_div(2, c.tiles_per_panel), 8 * c.rows // (self.sub_rows * c.tiles_per_panel)))
        wide = self.head or wide
        if self.end_rows and panels > 1:
            wide = min(wide, ceil_div(panels, 2))
        end = max(wide, panels - self.tail)
        return self._cuts([(0, wide), *((wide + n0, wide + n1) for n0, n1 in split(end - wide, self.group))])

    def _cuts(self, groups):
        """``groups`` cut where another table begins, and panels without weights begin or end."""
        edges = np.flatnonzero(self.zero[1:] != self.zero[:-1]) + 1
        return list(itertools.pairwise(sorted({0, self.wide, self.out.panels, *edges.tolist(), *(stop for _, stop in groups)})))

    def _pieces(self, first, width):
        """K panel ranges of one group."""
        size = self.k_piece if not first or not self.whole_k else max(1, min(self.ctx.tuning.first_panels, self.k_piece,
                                                         self.ctx.weight_ring.words // 4 // (width * self.panel_words)))
        return list(split(self.x.panels, round_up(size, self.granule)))

    def _panels(self, r0, r1, n0, n1, a, fetched, first, sub_rows):
        """All rows of the block, ``sub_rows`` at a time, times the weights of N panels ``n0..n1``; returns how many K panels
        are fetched."""
        ctx, c = self.ctx, self.ctx.config
        # Without weights there is nothing but to drain.
        pieces = [] if self.zero[n0] else self._pieces(first, n1 - n0)
        sub_blocks = list(split_rows(r1 - r0, sub_rows, ctx.granule))
        held = None
        if len(sub_blocks) > 1 and (n1 - n0) * self.x.panels * self.panel_words <= ctx.weight_ring.words // 2:
            held = [self._load(n0, n1, k0, k1) for k0, k1 in pieces]
        drain = _Drain(self, r0, r1, n0, n1, self._outside(a, r1 - r0))
        tiles = (n1 - n0) * c.tiles_per_panel
        for s0, s1 in sub_blocks:
            s0, s1 = r0 + s0, r0 + s1
            ends = self._ends(s0, s1, n0, n1)
            if not pieces:
                for m0, m1 in ends or [(s0, s1)]:
                    drain.take(m0, m1, None, None)
                continue
            # Rows that end one by one have sums in banks of their own: the array works in one, the vector engine in another.
            sums = {rows: self._sums(tiles * (rows[1] - rows[0])) for rows in ends or [(s0, s1)]}
            for number, (k0, k1) in enumerate(pieces):
                operand = ctx.open(self.x, s0, s1, k0, k1) if a is None else a
                weights = held[number] if held else self._load(n0, n1, k0, k1)
                for m0, m1 in ends or self._begins(r0, s0, s1, n0, number):
                    if a is None:
                        ctx.fetch(self.x, operand, m0, m1, k0, k1)
                    elif k1 > fetched:
                        # Later strips read the same pieces, so they come for all rows.
                        ctx.fetch(self.x, a, m0, r1 if m1 == s1 else m1, k0, k1)
                        if m1 == s1:
                            fetched = k1
                    b0, b1 = (m0, m1) if ends else (s0, s1)
                    # Words between N tiles, or between rows.
                    stride = tiles if self.weights.by_rows else b1 - b0
                    place = sums[b0, b1] + (m0 - b0) * (stride if self.weights.by_rows else 1)
                    weights.multiply(ctx.builder, operand, m0, m1 - m0, k0, (k1 - k0) * c.k_tiles_per_panel, n0, n1, place,
                                     number > 0, self.x.dtype == "uint8", stride)
                    if number == len(pieces) - 1:
                        drain.take(m0, m1, place, stride)
                if a is None:
                    ctx.release(operand)
            for place in sums.values():
                ctx.accumulators.free(place)
        drain.finish()
        return fetched

    def _outside(self, a, rows):
        """How words outside the banks of operand ``a`` are taken, if others would wait there until the layer is over, or None; an
        operand in many banks leaves each of them alone most of the time."""
        if a is None or not self.weights.fills_banks:
            return None
        words = (rows if a.temporary else self.rows) * self.x.panels
        return self.ctx.outside(a.base, a.base + words) if words <= self.ctx.config.scratchpad_words // 4 else None

    def _load(self, n0, n1, k0, k1):
        """The piece of weights with N panels ``n0..n1``, perhaps among others that were loaded with them."""
        ctx, stop = self.ctx, n1
        if (k0, k1) in self.loaded and n1 <= self.loaded[k0, k1][0]:
            return self.loaded[k0, k1][1]
        if ctx.offsets is not None and self.weights.together * self.x.panels * self.panel_words <= ctx.weight_ring.words // 4:
            stop = max(n1, min(n0 + self.weights.together, self.out.panels))
        piece = self.weights.load(ctx, n0, stop, k0, k1)
        if stop > n1:
            self.loaded[k0, k1] = stop, piece
        return piece

    def _sums(self, words):
        """First of ``words`` accumulator words."""
        place = self.ctx.accumulators.alloc(words, align=1)
        if place is None:
            raise CompileError(f"{self.op.origin}: {words} accumulator words are not free")
        return place

    def _begins(self, r0, s0, s1, n0, number):
        """Rows ``s0..s1`` in the pieces in which the product with K piece ``number`` takes them: one, but in the first
        panels of a layer that begins with what the host wrote, the array works on the operand while it comes."""
        if not self.begin_rows or n0 or s0 > r0 or number >= _BEGIN_PIECES:
            return [(s0, s1)]
        if number == 0:
            return [(s0 + m0, s0 + m1) for m0, m1 in growing(s1 - s0, self.begin_rows)]
        # While the first half is multiplied by several panels the other one comes.
        return [(s0 + m0, s0 + m1) for m0, m1 in split(s1 - s0, round_up(ceil_div(s1 - s0, 2), self.ctx.granule))]

    def _ends(self, s0, s1, n0, n1):
        """Rows ``s0..s1`` in the pieces in which the last panel of a layer whose results the host reads is computed: ever
        shorter ones, so that little is left to do behind the last product; empty elsewhere."""
        if not self.end_rows or n1 - n0 > 1 or n1 < self.out.panels:
            return []
        return [(s0 + m0, s0 + m1) for m0, m1 in shrinking(s1 - s0, self.end_rows, self.ctx.granule)]

    def params(self, n0, n1):
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
        constant = self.weights.constant_tiles if self.weights.constant_tiles.any() else None
        return (self.ctx.rescale_records(self.weights.rescale(self.x.dtype), self.out.channels, n0, n1, idle, constant),
                ("records", *self.weights.key, n0, n1))


class _Drain:
    """Takes the results of rows ``r0..r1`` and N panels ``n0..n1`` from the accumulators to where they belong; ``alloc``: as of
    `weft.lower.context.Context.open`, None: the heap's."""

    def __init__(self, linear, r0, r1, n0, n1, alloc):
        self.linear, self.where, self.alloc = linear, (r0, r1, n0, n1), alloc
        self.params = self.residual = self.view = self.zeros = None
        self.stored = False

    def take(self, m0, m1, place, stride):
        """Rows ``m0..m1``, complete from accumulator word ``place`` on; N tiles, or rows, are ``stride`` words apart. Sums of zero
        have no place."""
        linear, ctx = self.linear, self.linear.ctx
        r0, r1, n0, n1 = self.where
        if self.view is None:
            # Behind the operand: these words are those of the group before, whose results come late.
            self.params = linear.params(n0, n1)
            if linear.residual is not None:
                self.residual = ctx.read(linear.residual, r0, r1, n0, n1, self.alloc)
            self.view = ctx.open(linear.out, r0, r1, n0, n1, self.alloc)
            if place is None:
                self.zeros = ctx.zeros()
        stride, row_stride = (1, stride) if linear.weights.by_rows else (stride, 1)
        ctx.builder.requant(self.zeros if place is None else place, 0, 0, self.view, m0, n0, m1 - m0, n1 - n0, self.params,
                            residual=self.residual, res_row=m0, res_panel=n0, stride=stride, row_stride=row_stride,
                            table_slot=linear.wide_slot if n0 < linear.wide else linear.slot)
        # What leaves for the host, or for a norm that takes it strip by strip, is not kept waiting for later rows.
        if m1 - m0 < r1 - r0 and (linear.end_rows and n1 == linear.out.panels or n0 >= linear.out.panels - linear.tail):
            ctx.commit(linear.out, self.view, m0, m1, n0, n1)
            self.stored = True

    def finish(self):
        """Stores what is not stored yet."""
        ctx = self.linear.ctx
        if not self.stored:
            ctx.commit(self.linear.out, self.view, *self.where)
        ctx.release(self.view)
        ctx.release(self.residual)
