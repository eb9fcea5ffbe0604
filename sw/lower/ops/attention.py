"""Attention: scores, one-pass softmax and context by key blocks, with two (head, strip) jobs in flight.

A *job* is one head of a strip of query rows; its key blocks follow each other in ascending order. Jobs run in pairs:
while one job's block is in the vector engine, the array works on the other's.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from weft.hw.errors import CompileError
from weft.hw.isa import Element

from ..context import OutOfScratchpad
from ..layout import ceil_div, mask_row_words, pack_records, round_up
from ..plan import placement_cost
from ..split import by_turns, shrinking, split, split_rows
from ..tensors import View
from .attention_strips import JOBS, Strips

__all__ = ["AttentionLowering", "lower_attention"]


def lower_attention(ctx, op):
    """``softmax(q k^T) v`` for every batch element and head."""
    AttentionLowering(ctx, op).run()


@dataclass
class _Job:
    """Query rows ``row0..row1`` (of the flattened tensor) of batch element ``batch``, head ``head``."""
    batch: int
    head: int
    row0: int
    row1: int
    q: object = None
    out: object = None
    mask: tuple = None
    state: int = None
    #: Result strip that several jobs share, with the number still to come.
    shared: list = None
    #: Behind the last row of the jobs that run beside this one on the same keys.
    reach: int = None
    #: Number, from 1, of one of the first jobs of an attention, which run side by side; the last one.
    begins: int = 0
    ends: bool = False
    #: Rows in the pieces in which the context is computed: ``(row0, row1, first accumulator word)``.
    pieces: list = None


class AttentionLowering(Strips):
    """Lowers one attention; where its keys come from and which of them a job sees can be replaced."""

    #: Scalar register added to the position of the queries.
    query_register = 0

    def __init__(self, ctx, op):
        self.ctx, self.op, c = ctx, op, ctx.config
        self.q, self.out = ctx.tensors[op.q], ctx.tensors[op.out]
        self.k, self.v = self.keys_and_values()
        self.mask = None if op.mask is None else ctx.tensors[op.mask]
        self.panels = ceil_div(op.head_dim, c.panel)
        #: Panels of a head's queries and keys; more where its halves are padded apart (rotary embedding).
        self.depth = self.q.panels // op.heads
        self.blocks = split(op.k_len, op.block)
        self.block_panels = ceil_div(min(op.block, round_up(op.k_len, c.panel)), c.panel)
        if op.block % c.panel or op.block > c.key_block:
            raise CompileError(f"{op.origin}: key blocks of {op.block} keys, this configuration takes multiples of "
                               f"{c.panel} up to {c.key_block}")
        if op.k_len > 65535:
            raise CompileError(f"{op.origin}: {op.k_len} keys, the limit is 65535")
        if op.causal and op.k_len < op.q_len:
            raise CompileError(f"{op.origin}: causal attention of {op.q_len} queries to only {op.k_len} keys")
        #: Panels of keys and of values that come from memory.
        self.outside = sum(n for t, n in ((self.k, self.depth), (self.v, self.panels)) if t.resident is None)
        self.strip = self._strip_rows()
        #: Words of operands and results of the next pair of jobs; whether probabilities lie apart from them, and results.
        self.coming = 2 * JOBS * self.block_panels * c.panel * (self.depth + self.panels)
        self.apart, self.results_apart = (self.keeps and times * self.coming <= ctx.heap.largest() for times in (2, 4))
        #: First word of the last probabilities, and their words; those of the last results.
        self.written, self.leaving = None, deque(maxlen=JOBS)
        #: Keys and values in the scratchpad, by ("k" or "v", block): which ones, and their view.
        self.held = {}

    def keys_and_values(self):
        """The `Tensor` of all keys and that of all values."""
        return self.ctx.tensors[self.op.k], self.ctx.tensors[self.op.v]

    def _strips(self):
        """Query strips, each a list of ``(batch, row0, row1)`` that together start and end at DMA granules."""
        op, g = self.op, self.ctx.granule
        if op.q_len % g == 0 or op.batch == 1 or self.out.resident is not None:
            for b in range(op.batch):
                for r0, r1 in split_rows(op.q_len, self.strip, g if op.q_len % g == 0 or op.batch == 1 else 1):
                    yield [(b, b * op.q_len + r0, b * op.q_len + r1)]
        else:
            for r0, r1 in split(self.out.stored_rows, self.strip):
                yield [(b, max(r0, b * op.q_len), min(r1, (b + 1) * op.q_len))
                       for b in range(r0 // op.q_len, min(op.batch, ceil_div(r1, op.q_len)))]

    def _jobs(self):
        op = self.op
        strips = list(self._strips())
        batch, row0, _ = strips[-1][-1]
        strips[-1][-1] = batch, row0, self.out.stored_rows      # rows that fill the DMA granule are computed as well
        if op.causal and self.keeps:
            # Late queries see most keys: the array has most to do for what the bus brings first, earlier ones need no more.
            strips.reverse()
        # Neighbours have their keys and values in common.
        for head in range(op.heads):
            for pieces in strips:
                shared = [None, len(pieces), pieces[0][1], pieces[-1][2]]
                for batch, row0, row1 in pieces:
                    yield _Job(batch, head, row0, row1, shared=shared)

    def run(self):
        units = []
        waiting = list(self._jobs())
        if self.op.causal and self.keeps:
            # Behind the shortest one the vector engine would have more to do than the array.
            waiting[-JOBS:] = waiting[:-JOBS - 1:-1]
        for number, job in enumerate(waiting[:JOBS], 1):
            job.begins = number
        waiting[-1].ends = True
        for pair in range(0, len(waiting), JOBS):
            jobs = waiting[pair:pair + JOBS]
            for job in jobs:
                job.reach = max(other.row1 for other in jobs if other.batch == job.batch)
            counts = [len(self.visible(job)) for job in jobs]
            for number in range(max(counts)):
                units += [(job, number) for job, count in zip(jobs, counts) if number < count]
        previous = None
        for unit in units:
            scores = self._scores(*unit)
            if unit is units[0]:
                self._load_params()
            if previous is not None and previous[0] is unit[0]:
                # The row state of a job is that of one block: its context comes first.
                self._context(*previous)
                previous = None
            probabilities = self._softmax(*unit, scores)
            if previous is not None:
                self._context(*previous)
            previous = (*unit, probabilities)
        if previous is not None:
            self._context(*previous)
        for *_, view in self.held.values():
            self.ctx.release(view)

    def _load_params(self):
        """Records of the scores, of the division and of the result; nothing waits for them before the first softmax."""
        ctx, op, c = self.ctx, self.op, self.ctx.config
        self.params = ctx.params(np.concatenate([
            pack_records(c, np.zeros(c.cols), op.score_mult, op.score_shift, 0),
            pack_records(c, np.zeros(c.cols), op.out_mult, op.out_shift, 0),
            pack_records(c, np.zeros(c.cols), 1, 1, 0)]), ("attention", id(op)))

    def _read(self, name, job, number, panel, fetch=True):
        """View of a block's keys or values; jobs that run side by side on the same ones read them from memory once, and
        so do those of one head if all of them fit. Not ``fetch``: if it is new, the caller does so."""
        ctx, op = self.ctx, self.op
        view = self._held(name, job, number, panel)
        if view is not None:
            return view
        row = job.batch * op.k_len
        tensor, panels = (self.k, self.depth) if name == "k" else (self.v, self.panels)
        first, end = (row + self.blocks[number][0], panel), self._needed(job, number)
        for key in [key for key, (there, _, _) in self.held.items() if key[0] == name and not (
                self.keeps and key[1] != number and there[1] == panel and there[0] - self.blocks[key[1]][0] == row)]:
            ctx.release(self.held.pop(key)[2])
        wanted = first[0] // ctx.granule * ctx.granule, round_up(end, ctx.granule), panel, panel + panels
        try:
            view = ctx.open(tensor, *wanted)
        except OutOfScratchpad:
            # No room for all: others, whose products are emitted, are read again when their turn comes.
            if not self.held:
                raise
            for key in list(self.held):
                ctx.release(self.held.pop(key)[2])
            view = ctx.open(tensor, *wanted)
        if fetch:
            ctx.fetch(tensor, view, *wanted)
        self.held[name, number] = first, end, view
        return view

    def _needed(self, job, number):
        """Behind the last key of a block, a row of the tensor, that this job or one beside it needs."""
        return job.batch * self.op.k_len + max(self.block_keys(job, number)[1], self.visible_end(job.reach, job, number))

    def _held(self, name, job, number, panel):
        """View of a block's keys or values if they have been read already, or None."""
        there, until, view = self.held.get((name, number), (None, 0, None))
        first = job.batch * self.op.k_len + self.blocks[number][0], panel
        return view if there == first and until >= self._needed(job, number) else None

    def visible(self, job):
        """Key blocks that any query of the job may attend (at least one)."""
        if not self.op.causal:
            return self.blocks
        last = self.position(job.row1 - 1, job)
        return [b for b in self.blocks if b[0] <= last] or self.blocks[:1]

    def position(self, row, job):
        """Key number of a query row's own position."""
        op = self.op
        return min(row - job.batch * op.q_len, op.q_len - 1) + op.k_len - op.q_len

    def _keys(self, job, number):
        """``(first key, keys, panels)`` of a block."""
        k0, k1 = self.block_keys(job, number)
        return k0, k1 - k0, ceil_div(k1 - k0, self.ctx.config.panel)

    def block_keys(self, job, number):
        """First and last key (exclusive) of a block, without keys beyond the causal limit."""
        return self.blocks[number][0], self.visible_end(job.row1, job, number)

    def visible_end(self, row1, job, number):
        """Behind the last key of a block that rows before ``row1`` may see, at least one."""
        k0, k1 = self.blocks[number]
        return min(k1, max(k0 + 1, self.position(row1 - 1, job) + 1)) if self.op.causal else k1

    def visible_panels(self, job, key, panels):
        """Panels of a block's keys with the first row that sees any of them: ``(first panel, end, first row)``."""
        result = [(0, panels, 0)]
        if not self.op.causal or job.row1 > self.op.batch * self.op.q_len:
            return result
        own = self.position(job.row0, job)
        for panel in range(1, panels):
            # The first panel takes every row: it rescales what was summed before.
            start = max(0, key + panel * self.ctx.config.panel - own)
            begun, _, rows_from = result[-1]
            if start != rows_from:
                result[-1:] = [(begun, panel, rows_from), (panel, panels, start)]
        return result

    def _head_panel(self, job, tensor):
        head = job.head if tensor in (self.q, self.out) else job.head // (self.op.heads // self.op.kv_heads)
        return head * (self.depth if tensor in (self.q, self.k) else self.panels)

    def _scores(self, job, number):
        """Emits the scores of one block; returns their accumulator word."""
        ctx, c, op = self.ctx, self.ctx.config, self.op
        rows = job.row1 - job.row0
        panel = self._head_panel(job, self.q)
        key, keys, key_panels = self._keys(job, number)
        tiles = key_panels * c.tiles_per_panel
        k_panel = self._head_panel(job, self.k)
        pieces = [] if self._held("k", job, number, k_panel) else self._begins(job, number, tiles)
        if number == 0:
            job.q = (ctx.open if pieces else ctx.read)(self.q, job.row0, job.row1, panel, panel + self.depth)
        scores = ctx.accumulators.alloc(rows * tiles, align=1)
        row = job.batch * op.k_len + key
        k = self._read("k", job, number, k_panel, fetch=not pieces)
        for m0, m1, t0, t1 in pieces or [(0, rows, 0, tiles)]:
            skipped = t0 * c.cols
            if pieces and m0 == 0:
                end = min(row + t1 * c.cols, round_up(self.held["k", number][1], ctx.granule))
                ctx.fetch(self.k, k, row + skipped, end, k_panel, k_panel + self.depth)
            if pieces and t0 == 0:
                ctx.fetch(self.q, job.q, job.row0 + m0, job.row0 + m1, panel, panel + self.depth)
            ctx.builder.matmul_kt(job.q, job.row0 + m0, m1 - m0, panel, self.depth * c.k_tiles_per_panel, t1 - t0,
                                  scores + m0 + t0 * rows, k, row + skipped, k_panel,
                                  min(keys - skipped, (t1 - t0) * c.cols), stride=rows)
        if pieces and end < self.held["k", number][1]:
            ctx.fetch(self.k, k, end, round_up(self.held["k", number][1], ctx.granule), k_panel, k_panel + self.depth)
        if number == len(self.visible(job)) - 1:
            ctx.release(job.q)
        return scores

    def _begins(self, job, number, tiles):
        """Where the array works on the first queries and keys while the host's come, by turns: blocks ``(row0, row1, key tile 0,
        key tile 1)``; else empty."""
        ctx, op, c, g = self.ctx, self.op, self.ctx.config, self.ctx.granule
        rows, row = job.row1 - job.row0, job.batch * op.k_len + self.blocks[number][0]
        # Pieces begin at DMA granules, and every key tile has keys.
        if not (self._first(job, number) and {op.q, op.k} <= ctx.edges) or any(
                n % g for n in (job.row0, rows, row, c.cols)) or (tiles - 1) * c.cols >= self._keys(job, number)[1]:
            return []
        first = round_up(max(ctx.tuning.edge_rows, c.cols), g)
        # Few queries take the array as long as a tile's columns. Behind the very first job they are there soon enough.
        pieces = max(1, rows // first) if job.begins == 1 else 1
        return by_turns(split_rows(rows, round_up(ceil_div(rows, pieces), g), g), split(tiles, ceil_div(first, c.cols)))

    def _first(self, job, number):
        """Whether this is the first block of one of the first jobs of an attention, which is to begin in pieces."""
        return job.begins > 0 and number == 0 and self.ctx.tuning.edge_rows > 0

    def _last(self, job):
        """Whether this is the last job of an attention, whose result leaves for the host in pieces."""
        return (job.ends and job.shared[1] == 1 and self.ctx.tuning.end_rows > 0 and self.op.out in self.ctx.edges
                and job.row0 % self.ctx.granule == job.row1 % self.ctx.granule == 0)

    def _softmax(self, job, number, scores):
        """Emits the softmax of one block; returns the view of its probabilities."""
        ctx, c, op = self.ctx, self.ctx.config, self.op
        rows = job.row1 - job.row0
        key, keys, key_panels = self._keys(job, number)
        if number == 0:
            # In slots of a strip, since two jobs that begin anywhere may leave no room for a third.
            job.state = ctx.states.alloc(rows, align=self.strip)
            job.mask = self._load_mask(job)
        words = rows * key_panels
        base = self._aside(words) if self.apart else ctx.heap.alloc(words)
        if base is None:
            raise OutOfScratchpad(op.out)
        self.written = base, words
        probabilities = View(base, 1, rows, Element.UINT8, key_panels, 0, 0, True)
        mask = None
        if job.mask is not None:
            tile, per = key // c.cols, c.mask_tiles_per_word
            tiles = key_panels * c.tiles_per_panel
            view, stride = job.mask
            mask = (view + tile // per, stride, ceil_div(tile % per + tiles, per))
        ctx.builder.softmax(scores, rows, key_panels * c.tiles_per_panel, probabilities, self.params, job.state,
                            key_start=key, key_limit=key + keys, first=number == 0,
                            last=number == len(self.visible(job)) - 1,
                            causal_start=self.position(job.row0, job) if op.causal else None,
                            query_register=self.query_register, mask=mask)
        ctx.accumulators.free(scores)
        return probabilities

    def _aside(self, words):
        """First of ``words`` words for what the vector engine writes, or None. It and the array use their bank in nearly every
        cycle, and loads would starve in it: so it lies in another one than what is loaded next and than the last probabilities, in
        the one that loads have left last, so that they come there late; and not where results still leave."""
        ctx, c = self.ctx, self.ctx.config
        overlap = placement_cost(c, [(ctx.heap.next, self.coming), *([self.written] if self.written else [])])(words)
        bank = c.scratchpad_words // c.scratchpad_banks

        def cost(base):
            leaving = any(base < first + count and first < base + words for first, count in self.leaving)
            return overlap(base), leaving, (ctx.heap.next - base) % c.scratchpad_words

        return ctx.heap.alloc(words, cost=cost, places=range(0, c.scratchpad_words, bank))

    def _results(self, words):
        """First of ``words`` words for results, or None. Where there is less room, loads need it in one piece."""
        if not self.results_apart:
            return self.ctx.heap.alloc(words)
        base = self._aside(words)
        if base is not None:
            self.leaving.append((base, words))
        return base

    def _load_mask(self, job):
        """Mask rows of the job in the scratchpad: ``(first word, row stride)``."""
        if self.mask is None:
            return None
        ctx, op = self.ctx, self.op
        words = mask_row_words(ctx.config, op.k_len)
        single = self._mask_rows() == 1
        rows = 1 if single else job.row1 - job.row0
        first = job.batch if single else job.row0
        base = ctx.heap.alloc(words * rows, align=2)
        if base is None:
            raise OutOfScratchpad(op.out)
        ctx.builder.load(self.mask.memory + first * words * ctx.config.word_bytes, base, words * rows,
                         tracked=not self.mask.constant)
        return base, 0 if single else words

    def _context(self, job, number, probabilities):
        """Emits the context of one block, and behind the last one its division and requantization."""
        ctx, c, op = self.ctx, self.ctx.config, self.op
        rows = job.row1 - job.row0
        key, keys, key_panels = self._keys(job, number)
        if number == 0:
            # Ever fewer rows at the very end, with sums in banks of their own: little is left to do behind the last product.
            cut = shrinking(rows, max(ctx.tuning.end_rows, c.rows), ctx.granule) if self._last(job) else [(0, rows)]
            job.pieces = [(m0, m1, ctx.accumulators.alloc((m1 - m0) * self.panels * c.tiles_per_panel, align=1))
                          for m0, m1 in cut]
        row = job.batch * op.k_len + key
        panel = self._head_panel(job, self.v)
        begins = self._first(job, number) and op.v in ctx.edges and not self._held("v", job, number, panel)
        ends = number == len(self.visible(job)) - 1
        v = self._read("v", job, number, panel, fetch=not begins)
        # The first values come panel by panel; the last results leave so where their rows are not cut.
        apart = begins or ends and self._last(job) and len(job.pieces) == 1
        for m0, m1, place in job.pieces:
            for p0, p1 in split(self.panels, 1 if apart else self.panels):
                sums = place + p0 * c.tiles_per_panel * (m1 - m0)
                if begins and m0 == 0:
                    ctx.fetch(self.v, v, v.row0, round_up(self.held["v", number][1], ctx.granule), panel + p0, panel + p1)
                for first, last, start in self.visible_panels(job, key, key_panels):
                    skipped, start = first * c.panel, max(start, m0)
                    if start < m1:
                        ctx.builder.matmul_v(probabilities, start, m1 - start, first, (last - first) * c.k_tiles_per_panel,
                                             (p1 - p0) * c.tiles_per_panel, sums + start - m0, m1 - m0, v, row + skipped,
                                             panel + p0, min(keys - skipped, (last - first) * c.panel),
                                             number > 0 or first > 0, number > 0 and first == 0, job.state + start)
                if ends:
                    self._result(job, m0, m1, p0, p1, sums)
        ctx.release(probabilities)
        if ends:
            self._finish(job)

    def _result(self, job, m0, m1, p0, p1, sums):
        """Emits division and requantization of rows ``m0..m1``, panels ``p0..p1`` of a head, from accumulator word ``sums``."""
        ctx, panel = self.ctx, self._head_panel(job, self.out)
        if job.shared[0] is None:
            job.shared[0] = ctx.open(self.out, job.shared[2], job.shared[3], panel, panel + self.panels,
                                     self._results)
        ctx.builder.requant(sums, 0, 0, job.shared[0], job.row0 + m0, panel + p0, m1 - m0, p1 - p0,
                            self.params + 2 * ctx.config.param_tile_words, hold=True, row_scale=True, state=job.state + m0)
        if self._last(job):
            ctx.commit(self.out, job.shared[0], job.row0 + m0, job.row0 + m1, panel + p0, panel + p1)

    def _finish(self, job):
        """Frees what a job held; stores the strip of results that jobs share behind the last of them."""
        ctx, panel = self.ctx, self._head_panel(job, self.out)
        for _, _, place in job.pieces:
            ctx.accumulators.free(place)
        ctx.states.free(job.state)
        if job.mask is not None:
            ctx.heap.free(job.mask[0])
        view, left, row0, row1 = job.shared
        stored = self._last(job)
        job.shared[1] -= 1
        if left == 1:
            if not stored:
                ctx.commit(self.out, view, row0, row1, panel, panel + self.panels)
            ctx.release(view)
