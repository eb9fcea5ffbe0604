"""Constrained-random legal programs.

Instructions are drawn one after the other; each takes operands that earlier ones produced (or loads new ones), and places
its result in scratchpad or accumulator words chosen at random, over whatever was there.
"""

import numpy as np

from weft.hw.isa import Element

from .program import Node
from .vectors import Vectors

__all__ = ["random_program", "random_image"]


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


class Draw(Vectors):
    """Draws instructions; every method named ``draw_*`` appends one or more nodes."""

    WEIGHTS = {"product": 5, "requant_acc": 4, "requant": 3, "norm": 2, "attention": 2, "store": 3, "reload": 1,
               "gather": 1, "control": 2, "barrier": 0.5, "table": 1, "stream": 2, "chain": 2}

    def step(self):
        weights = (self.WEIGHTS | ({"circulant": 3} if self.config.circulant else {})
                   | ({"constant": 1} if self.config.constant_channels else {}))
        names = list(weights)
        chance = np.array([weights[n] for n in names], float)
        getattr(self, "draw_" + names[self.rng.choice(len(names), p=chance / chance.sum())])()

    def finish(self):
        """Stores something, so that every program writes."""
        for _ in range(int(self.rng.integers(1, 4))):
            self.draw_store()

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
            k_offset = int(self.rng.integers(c.k_tiles_per_panel)) if self.chance(0.3) else 0
            k_tiles = key_panels * c.k_tiles_per_panel - k_offset
            fields = self._product_fields(p, rows, k_tiles, v_tiles, context, int(block > 0))
            fields.update(rescale=int(block > 0), state_base=int(state[0]) if block else 0, k_offset=k_offset,
                          w_base=v.base, w_panel_stride=v.panel_stride)
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
        k_offset = int(self.rng.integers(c.k_tiles_per_panel)) if self.chance(0.3) else 0
        n_tiles, k_tiles = key_panels * c.tiles_per_panel, f_panels * c.k_tiles_per_panel - k_offset
        if avoid is None or self.chance(0.5):
            scores, accumulate = self._results(n_tiles, rows, avoid)
        else:
            scores, accumulate = self.new_results(n_tiles, rows, avoid=avoid), 0
        fields = self._product_fields(q, rows, k_tiles, n_tiles, scores, accumulate)
        fields.update(k_offset=k_offset, w_base=k.base, w_panel_stride=k.panel_stride)
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
        node = Node("SOFTMAX", fields, accesses, {"src_signal": tiles, "dst_signal": key_panels, "src_wait": tiles})
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
