"""Constrained-random legal programs.

Instructions are drawn one after the other; each takes operands that earlier ones produced (or loads new ones), and places
its result in scratchpad or accumulator words chosen at random, over whatever was there.
"""

import numpy as np

from weft.hw.isa import Element

from .contents import weight_tiles
from .program import Address, Node
from .transfers import Transfers

__all__ = ["random_program", "random_image"]

#: Semaphores of the weight ring; `program` keeps clear of them.
RING_FULL, RING_FREE = 1, 2


def random_image(config, seed, keep=None):
    """``(Image, inputs)`` of a legal random program for a configuration; ``inputs``: uint8[bytes] by buffer name.

    ``keep``: positions of the nodes to keep (the shrinker drops the others, with their tokens).
    """
    program = random_program(config, seed)
    return program.image(keep)


def random_program(config, seed, size=None):
    """A `Draw` with all its nodes; ``size``: how many draws (default: random)."""
    rng = np.random.default_rng(seed)
    draw = Draw(config, rng)
    for _ in range(size or int(rng.integers(4, 28))):
        draw.step()
    draw.finish()
    return draw


class Draw(Transfers):
    """Draws instructions; every method named ``draw_*`` appends one or more nodes.

    ``tables``: slots that have been loaded.
    """

    WEIGHTS = {"product": 5, "requant_acc": 4, "requant": 3, "norm": 2, "attention": 2, "store": 3, "reload": 1,
               "gather": 1, "control": 2, "barrier": 0.5, "table": 1, "stream": 2, "chain": 2}

    def __init__(self, config, rng):
        super().__init__(config, rng)
        self.tables = set()

    def step(self):
        names = list(self.WEIGHTS)
        chance = np.array([self.WEIGHTS[n] for n in names], float)
        getattr(self, "draw_" + names[self.rng.choice(len(names), p=chance / chance.sum())])()

    def finish(self):
        """Stores something, so that every program writes."""
        for _ in range(int(self.rng.integers(1, 4))):
            self.draw_store()

    # Tensor.

    def _product_fields(self, a, rows, k_tiles, n_tiles, results, accumulate):
        return dict(a_base=a.base, a_panel_stride=a.panel_stride, a_unsigned=int(a.kind == Element.UINT8), rows=rows,
                    k_tiles=k_tiles, n_tiles=n_tiles, k_outer=self.chance(0.4), acc_base=results.base,
                    acc_stride=results.stride, accumulate=accumulate)

    def _moving(self, panels=None):
        """An 8-bit operand with rows one word apart."""
        return self.operand((Element.INT8, Element.UINT8), panels=panels, unit_rows=True)

    def _results(self, tiles, rows, avoid=None):
        """Accumulator words, and whether to add to what they hold."""
        same = [r for r in self.results if r.tiles == tiles and r.rows == rows and r.depth < 6
                and (avoid is None or not np.isin(r.words, avoid.words).any())]
        if same and self.chance(0.5):
            results = self.pick(same)
            accumulate = self.chance(0.6)
            results.depth = results.depth + 1 if accumulate else 0
            return results, accumulate
        return self.new_results(tiles, rows, avoid), 0

    def draw_product(self):
        c = self.config
        a = self._moving()
        k_tiles = int(self.rng.integers(1, a.panels * c.k_tiles_per_panel + 1))
        n_tiles = int(self.rng.integers(1, 3)) * c.tiles_per_panel
        rows = a.rows if self.chance(0.7) else int(self.rng.integers(1, a.rows + 1))
        known = [r for r in self.results if r.rows <= a.rows]
        if known and self.chance(0.4):
            same = self.pick(known)
            rows, n_tiles = same.rows, same.tiles
        k_panels = -(-k_tiles // c.k_tiles_per_panel)
        weights = self.new_weights(k_tiles, n_tiles, keep=[a])
        results, accumulate = self._results(n_tiles, rows)
        fields = self._product_fields(a, rows, k_tiles, n_tiles, results, accumulate)
        tiles = k_tiles * n_tiles
        chunk = int(self.rng.choice([d for d in range(-(-tiles // 12), tiles + 1)] + [tiles + 3]))
        fields.update(w_base=weights.base, chunk_tiles=chunk)
        node = Node("MATMUL", fields, [
            self.read(weights.words, "weights", "w"), self.read(a.words_of(rows, k_panels), "moving", "a")],
            parts={"w_wait": -(-tiles // chunk), "w_signal": -(-tiles // chunk), "a_wait": k_panels})
        self._align_moving(node, a, k_panels)
        self._rescale(node, rows)
        if chunk == tiles // weights.loads and tiles % weights.loads == 0 and weights.node is not None:
            node.aligned.add((weights.node, "load", "w"))
        self._add_product(node, results)

    def _add_product(self, node, results):
        """Adds a product; tokens for each N tile where it and those before and after it agree."""
        node.accesses.append(self.access("accumulators", results.words, True, "results", "acc"))
        node.parts.update(acc_signal=results.tiles, acc_wait=results.tiles)
        if results.reader is not None:
            node.aligned.add((results.reader, "source", "acc"))
        results.writer, results.reader = node, None
        self.add(node)

    def _align_moving(self, node, a, panels):
        """Tokens for each K panel where the producer sends one for each panel."""
        if a.panels == panels:
            self.align(node, a, "a")

    def _rescale(self, node, rows):
        """Shifts what a product adds to by the state that some softmax has left."""
        divided = [first for first, number in self.divided if number >= rows]
        if node.fields["accumulate"] and divided and self.chance(0.7):
            first = self.pick(divided)
            node.fields.update(rescale=1, state_base=first)
            node.accesses.append(self.access("state", first + np.arange(rows), False, "moving", "a"))

    def draw_stream(self):
        """Weights through a ring that the load engine fills while the array empties it."""
        c = self.config
        a = self._moving()
        k_tiles = int(self.rng.integers(1, a.panels * c.k_tiles_per_panel + 1))
        n_tiles = int(self.rng.integers(1, 4)) * c.tiles_per_panel
        tiles = k_tiles * n_tiles
        chunk = self.pick([d for d in (1, 2, 3, 4, 6, 8, k_tiles) if tiles % d == 0])
        # A chunk is one run, so it is a whole number of DMA granules.
        if chunk * c.weight_tile_words % c.dma_words:
            return
        slots = min(int(self.rng.integers(1, 5)), 63)
        ring = self.allocate(slots * chunk * c.weight_tile_words, keep=[a])
        results, accumulate = self._results(n_tiles, a.rows)
        data = weight_tiles(c, self.rng, tiles)
        buffer = self.constant(data) if self.chance(0.8) else self.new_input(data)
        start = int(self.rng.integers(slots))
        size = chunk * c.weight_tile_words
        written = self.access("scratchpad", ring, True, "load", "dma")
        # The ring belongs to both from here on; the load engine gets its slots from the tensor engine.
        self.add(Node("BARRIER", {}, control=[("BARRIER", {})]))
        self.add(Node("TENSOR_SYNC", {}, [self.read(ring, "moving", "a")],
                      control=[("TENSOR_SYNC", dict(signal=RING_FREE, signal_count=slots))]))
        self.add(Node("LOAD", dict(
            dram_addr=Address(buffer), spm_addr=int(ring[0]), run_words=size, inner_count=1, outer_count=tiles // chunk,
            outer_dram_stride=size * c.word_bytes, outer_spm_stride=size, ring_slots=slots, ring_start=start,
            wait=RING_FREE, wait_each=1, signal=RING_FULL, signal_each=1), [written]))
        fields = self._product_fields(a, a.rows, k_tiles, n_tiles, results, accumulate)
        fields.update(w_base=int(ring[0]), chunk_tiles=chunk, ring_slots=slots, ring_start=start, 
                      w_wait=RING_FULL, w_signal=RING_FREE)
        k_panels = -(-k_tiles // c.k_tiles_per_panel)
        node = Node("MATMUL", fields, [self.read(a.words_of(a.rows, k_panels), "moving", "a")], {"a_wait": k_panels})
        self._align_moving(node, a, k_panels)
        self._add_product(node, results)
        self.add(Node("LOAD_SYNC", {}, [written], control=[("LOAD_SYNC", dict(wait=RING_FREE, wait_count=slots))]))

    # Vector.

    def _requant_options(self, kind):
        option = {}
        if self.chance(0.25) and kind != Element.INT16 and self.tables:
            option.update(table=1, slot=self.pick(sorted(self.tables)))
        return option

    def draw_requant_acc(self):
        if not self.results:
            self.draw_product()
        self._requant_acc(self.pick(self.results))

    def _requant_acc(self, results):
        kind = self.pick([Element.INT8, Element.UINT8, Element.INT16])
        accesses = [self.access("accumulators", results.words, False, "source", "src")]
        fields = dict(src_type=Element.ACC, src_base=results.base, src_row_stride=1, src_panel_stride=results.stride)
        node = self._requant(fields, accesses, kind, results.rows, results.tiles, keep=[])
        if results.writer is not None:
            node.aligned.add((results.writer, "results", "src"))
        results.reader = node

    def draw_requant(self):
        a = self.operand((Element.INT8, Element.UINT8, Element.INT16))
        kind = self.pick([Element.INT8, Element.UINT8, Element.INT16])
        fields = dict(src_type=a.kind, src_base=a.base, src_row_stride=a.row_stride, src_panel_stride=a.panel_stride)
        accesses = [self.read(a.words, "source", "src")]
        in_place = a if self.chance(0.25) and (a.kind == kind or (a.kind != Element.INT16 and kind != Element.INT16)) else None
        self._requant(fields, accesses, kind, a.rows, a.panels * self.config.tiles_per_panel, keep=[a],
                      place=in_place, source=a)

    def _requant(self, fields, accesses, kind, rows, tiles, keep, place=None, source=None):
        c = self.config
        read = [] if source is None else [source]
        panels = tiles // c.tiles_per_panel
        if self.chance(0.4):
            second = self.operand((Element.INT8, Element.UINT8, Element.INT16), rows=rows, panels=panels, keep=keep)
            option = "multiply" if fields["src_type"] != Element.ACC and self.chance(0.5) else "residual"
            fields.update({option: 1}, res_type=second.kind, res_base=second.base, res_row_stride=second.row_stride,
                          res_panel_stride=second.panel_stride)
            accesses.append(self.read(second.words, "source", "src"))
            keep, read = [*keep, second], [*read, second]
        hold = self.chance(0.2)
        records = self.new_records(1 if hold else tiles, keep=keep)
        keep = [*keep, records]
        if kind != Element.INT16 and not self.tables and self.chance(0.2):
            self.draw_table(keep=keep)
        fields.update(self._requant_options(kind), param_base=records.base, param_hold=hold)
        divided = [s for s in self.divided if s[1] >= rows]
        if divided and self.chance(0.5):
            base, _ = self.pick(divided)
            fields.update(row_scale=1, state_base=base)
            accesses.append(self.access("state", base + np.arange(rows), False, "source", "sync"))
        destination = place if place is not None else self.new_operand(kind, rows, panels, keep=keep)
        if place is not None:
            place.kind = kind
        fields.update(dst_type=kind, dst_base=destination.base, dst_row_stride=destination.row_stride,
                      dst_panel_stride=destination.panel_stride, rows=rows, tiles=tiles)
        accesses += [self.read(records.words, "source", "src"),
                     self.access("scratchpad", destination.words, True, "written", "dst")]
        node = Node("REQUANT", fields, accesses, self._vector_parts(tiles))
        self._align_vector(node, read, destination)
        if place is None and not self.chance(0.9):
            node.repeat, node.repeat_register = int(self.rng.integers(1, 3)), self.scalars.scratch()
        destination.node, destination.by_panel = node, True
        self.add(node)
        return node

    def _vector_parts(self, tiles):
        panels = tiles // self.config.tiles_per_panel
        return {"src_wait": tiles, "src_signal": tiles, "dst_wait": panels, "dst_signal": panels}

    def _align_vector(self, node, sources, destination):
        """Tokens for each panel (where that is a tile) with the nodes before and after."""
        self.align_with_readers(node, destination, "dst")
        for x in sources:
            self.align(node, x, "src")
            x.readers.append((node, "source"))

    def draw_norm(self):
        x = self.operand((Element.INT16,))
        state = self._stats(x)
        for _ in range(int(self.rng.integers(0, 3))):
            # The statistics of other rows serve as well, and these may still be on their way.
            if self.chance(0.4):
                x = self.operand((Element.INT16,), rows=x.rows, panels=x.panels, fresh=0.6)
            if not x.alive:
                return
            kind = self.pick([Element.INT8, Element.UINT8, Element.INT16])
            self._norm(x, state, kind, x if kind == Element.INT16 and self.chance(0.3) else None)

    def _norm_fields(self, x, state):
        return dict(src_base=x.base, src_row_stride=x.row_stride, src_panel_stride=x.panel_stride, rows=x.rows,
                    tiles=x.panels * self.config.tiles_per_panel, features=x.panels * self.config.panel,
                    state_base=int(state[0]))

    def _stats(self, x):
        """STATS of an operand; the state rows."""
        state = self.state_rows(x.rows)
        eps = int(self.rng.choice([0, 1, int(self.rng.integers(1 << 40)), (1 << 59) - 1]))
        self.add(Node("STATS", dict(self._norm_fields(x, state), rms=self.chance(0.3), eps=eps), [
            self.read(x.words, "source", "src"), self.access("state", state, True, "written", "sync")]))
        return state

    def _norm(self, x, state, kind, place=None):
        """NORM of an operand to ``place`` or a new one."""
        fields = self._norm_fields(x, state)
        records = self.new_records(fields["tiles"], keep=[x] if place is None else [x, place])
        y = place if place is not None else self.new_operand(kind, x.rows, x.panels, keep=[x, records])
        fields.update(dst_type=kind, dst_base=y.base, dst_row_stride=y.row_stride, dst_panel_stride=y.panel_stride,
                      param_base=records.base)
        node = Node("NORM", fields, [
            self.read(x.words, "source", "src"), self.read(records.words, "source", "src"),
            self.access("state", state, False, "source", "src"),
            self.access("scratchpad", y.words, True, "written", "dst")], self._vector_parts(fields["tiles"]))
        self._align_vector(node, [x], y)
        y.node, y.by_panel = node, True
        self.add(node)

    def draw_chain(self):
        """Panels that follow each other through load, vector and store engine, at the same places again and again."""
        c = self.config
        kind = self.pick([Element.INT8, Element.INT16])
        rows, panels = c.dma_words * int(self.rng.integers(1, 4)), int(self.rng.integers(2, 5))
        x = self.new_operand(kind, rows, panels, dense=True)
        y = self.new_operand(self.pick([Element.INT8, kind]), rows, panels, keep=[x], dense=True)
        for turn in range(int(self.rng.integers(2, 5))):
            if not (x.alive and y.alive):
                return
            if turn == 0 or self.chance(0.6):
                self.load_panels(x)
            if kind == Element.INT16 and self.chance(0.5):
                state = self._stats(x)
                self._norm(x, state, y.kind, y)
            else:
                fields = dict(src_type=kind, src_base=x.base, src_row_stride=x.row_stride, src_panel_stride=x.panel_stride)
                self._requant(fields, [self.read(x.words, "source", "src")], y.kind, rows, panels * c.tiles_per_panel,
                              keep=[x, y], place=y, source=x)
            if y.alive:
                self.store(y)

    def draw_table(self, keep=()):
        base = self.load_constant(self.rng.integers(0, 256, 256, np.uint8), keep=list(keep))
        slot = int(self.rng.integers(2))
        self.add(Node("TABLE", dict(src_base=base.base, slot=slot), [self.read(base.words, "source", "src")]))
        self.tables.add(slot)

    # Attention.

    def draw_attention(self):
        c = self.config
        q = self._moving()
        rows = int(self.rng.integers(1, min(q.rows, c.state_rows) + 1))
        known = [r for r in self.results if r.rows <= min(q.rows, c.state_rows)]
        if known and self.chance(0.4):
            rows = self.pick(known).rows
        f_panels = q.panels
        key_panels = int(self.rng.integers(1, min(3, c.key_block // c.panel) + 1))
        blocks = int(self.rng.integers(1, 4))
        state = self.state_rows(rows)
        v_tiles = self.pick([c.tiles_per_panel, 2 * c.tiles_per_panel] + [r.tiles for r in known if r.rows == rows])
        context = None
        causal, query, first_key = self.chance(0.4), int(self.rng.integers(0, 40)), c.panel * int(self.rng.integers(0, 3))
        total = key_panels * c.panel * blocks
        limit = first_key + int(self.rng.integers(0, total + c.panel))
        for block in range(blocks):
            key_start = first_key + block * key_panels * c.panel
            last = int(block == blocks - 1)
            if not q.alive or (context is not None and not context.alive):
                return
            scores = self._scores(q, rows, f_panels, key_panels, avoid=context)
            p = self._softmax(scores, rows, key_panels, state, key_start, limit, causal, query, int(block == 0), last,
                              keep=[q])
            v = self.operand((Element.INT8,), rows=key_panels * c.panel, panels=v_tiles // c.tiles_per_panel,
                             unit_rows=True, keep=[q, p])
            if context is None:
                context = self.new_results(v_tiles, rows, avoid=scores)
            k_tiles = key_panels * c.k_tiles_per_panel
            fields = self._product_fields(p, rows, k_tiles, v_tiles, context, int(block > 0))
            fields.update(rescale=int(block > 0), state_base=int(state[0]) if block else 0, w_base=v.base,
                          w_panel_stride=v.panel_stride)
            self._limit(fields, int(self.rng.integers(0, v.rows + 9)) if self.chance(0.4) else v.rows)
            accesses = [self.read(v.words, "weights", "w"), self.read(p.words, "moving", "a")]
            if block:
                accesses.append(self.access("state", state, False, "moving", "a"))
            node = Node("MATMUL_V", fields, accesses, {"a_wait": key_panels})
            self._align_moving(node, p, key_panels)
            self._add_product(node, context)
        self.divided.append((int(state[0]), rows))
        if context.alive and self.chance(0.5):
            self._requant_acc(context)

    def _scores(self, q, rows, f_panels, key_panels, avoid):
        c = self.config
        k = self.operand((Element.INT8,), rows=key_panels * c.panel, panels=f_panels, unit_rows=True, keep=[q])
        n_tiles, k_tiles = key_panels * c.tiles_per_panel, f_panels * c.k_tiles_per_panel
        if avoid is None or self.chance(0.5):
            scores, accumulate = self._results(n_tiles, rows, avoid)
        else:
            scores, accumulate = self.new_results(n_tiles, rows, avoid=avoid), 0
        fields = self._product_fields(q, rows, k_tiles, n_tiles, scores, accumulate)
        fields.update(w_base=k.base, w_panel_stride=k.panel_stride)
        self._limit(fields, int(self.rng.integers(0, k.rows + 9)) if self.chance(0.4) else k.rows)
        node = Node("MATMUL_KT", fields, [
            self.read(k.words, "weights", "w"), self.read(q.words_of(rows, f_panels), "moving", "a")],
            {"a_wait": f_panels})
        self._align_moving(node, q, f_panels)
        self._rescale(node, rows)
        self._add_product(node, scores)
        return scores

    def _limit(self, fields, value):
        fields["w_limit"] = value
        number, offset = self.scalars.some()
        if self.chance(0.3) and 0 <= value - offset <= 65535:
            fields.update(w_limit=value - offset, w_limit_reg=number)

    def _softmax(self, scores, rows, key_panels, state, key_start, limit, causal, query, first, last, keep):
        c = self.config
        tiles = key_panels * c.tiles_per_panel
        accesses = [self.access("accumulators", scores.words, False, "source", "src")]
        records = self.new_score_records(keep=keep)
        keep = [*keep, records]
        fields = dict(acc_base=scores.base, acc_stride=scores.stride, rows=rows, tiles=tiles, key_start=key_start,
                      key_limit=limit, causal=causal, query_start=query, param_base=records.base, first=first, last=last,
                      state_base=int(state[0]))
        for name, register in (("key_start", "key_reg"), ("key_limit", "limit_reg"), ("query_start", "query_reg")):
            number, offset = self.scalars.some()
            if self.chance(0.2) and 0 <= fields[name] - offset <= 65535:
                fields.update({name: fields[name] - offset, register: number})
        if self.chance(0.4):
            slot = key_start // c.cols % c.mask_tiles_per_word
            words = -(-(slot + tiles) // c.mask_tiles_per_word)
            stride = 0 if self.chance(0.4) else words + int(self.rng.integers(3))
            mask = self.load_constant(self.rng.integers(0, 256, ((rows - 1) * stride + words) * c.word_bytes, np.uint8),
                                      keep=keep, varying=True)
            keep = [*keep, mask]
            fields.update(mask=1, mask_base=mask.base, mask_row_stride=stride)
            accesses.append(self.read(mask.words, "source", "src"))
        p = self.new_operand(Element.UINT8, rows, key_panels, keep=keep, unit_rows=True)
        fields.update(dst_base=p.base, dst_panel_stride=p.panel_stride)
        accesses += [self.read(records.words, "source", "src"), self.access("state", state, True, "written", "sync"),
                     self.access("scratchpad", p.words, True, "written", "dst")]
        if not first:
            accesses.append(self.access("state", state, False, "source", "sync"))
        node = Node("SOFTMAX", fields, accesses, parts={"src_signal": tiles, "dst_signal": key_panels, "src_wait": tiles})
        if scores.writer is not None:
            node.aligned.add((scores.writer, "results", "src"))
        self.align_with_readers(node, p, "dst")
        p.node, p.by_panel, scores.reader = node, True, node
        self.add(node)
        return p

    # Memory.

    def draw_store(self):
        x = self.operand((Element.INT8, Element.UINT8, Element.INT16), fresh=0.1)
        self.store(x)

    def draw_reload(self):
        """Reads back what was stored."""
        self.reload()

    def draw_gather(self):
        self.gather()

    # Control.

    def draw_barrier(self):
        self.add(Node("BARRIER", {}, control=[("BARRIER", {})]))

    def draw_control(self):
        self.add(Node("CALC", {}, control=self.scalars.control()))
