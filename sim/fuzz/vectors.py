"""Instructions of the vector engine in random programs, but softmax."""

import numpy as np

from weft.hw.isa import Element

from .contents import parameter_records
from .operands import Results
from .products import Products
from .program import Node

__all__ = ["Vectors"]


class Vectors(Products):
    """Requantization, norms and tables; ``tables``: slots that have been loaded."""

    def __init__(self, config, rng):
        super().__init__(config, rng)
        self.tables = set()

    def _requant_options(self, kind):
        option = {}
        if self.chance(0.25) and kind != Element.INT16 and self.tables:
            option.update(table=1, slot=self.pick(sorted(self.tables)))
        return option

    def draw_requant_acc(self):
        if not self.results:
            self.draw_product()
        self._requant_acc(self.pick(self.results))

    def draw_circulant(self):
        results = self.circulant()
        if self.chance(0.7):
            self.show(results)

    def show(self, results):
        """Stores sums as int16, the least bits rounded away."""
        c = self.config
        out = self.new_operand(Element.INT16, results.rows, results.tiles // c.tiles_per_panel, dense=True)
        records = np.zeros((results.tiles * c.groups_per_tile, c.param_group_words * c.word_bytes // 8), "<u8")
        records[:, :c.vector_lanes] = 1 << 32 | int(self.rng.integers(2, 6)) << 50
        records = self.load_constant(records.view(np.uint8), keep=[out])
        node = Node("REQUANT", dict(
            src_type=Element.ACC, src_base=results.base, src_row_stride=1, src_panel_stride=results.stride, dst_type=Element.INT16,
            dst_base=out.base, dst_row_stride=out.row_stride, dst_panel_stride=out.panel_stride, rows=results.rows,
            tiles=results.tiles, param_base=records.base), [
                self.access("accumulators", results.words, False, "source", "src"), self.read(records.words, "source", "src"),
                self.access("scratchpad", out.words, True, "written", "dst")], self._vector_parts(results.tiles))
        if results.writer is not None:
            node.aligned.add((results.writer, "results", "src"))
        results.reader = out.node = node
        self._align_vector(node, [], out)
        self.add(node)
        self.store(out)

    def draw_constant(self):
        """Constant channels from accumulators that hold anything, or nothing yet."""
        c = self.config
        rows, tiles = int(self.rng.integers(1, 20)), c.tiles_per_panel * int(self.rng.integers(1, 4))
        records, constant = self._constant_records(np.ones(tiles * c.cols, bool), keep=[])
        if constant.all():
            base = int(self.rng.integers(c.accumulator_words - rows * tiles + 1))
            self._requant_acc(Results(base, rows, tiles, rows), records)

    def _requant_acc(self, results, constant=None):
        """``constant``: records that make all channels constant; else any are drawn."""
        kind = self.pick([Element.INT8, Element.UINT8, Element.INT16])
        fields = dict(src_type=Element.ACC, src_base=results.base, src_row_stride=1, src_panel_stride=results.stride)
        node = self._requant(fields, [], kind, results.rows, results.tiles, keep=[], sums=results, constant=constant)
        if results.writer is not None:
            node.aligned.add((results.writer, "results", "src"))
        results.reader = node

    def draw_requant(self):
        a = self.operand((Element.INT8, Element.UINT8, Element.INT16))
        kind = self.pick([Element.INT8, Element.UINT8, Element.INT16])
        fields = dict(src_type=a.kind, src_base=a.base, src_row_stride=a.row_stride, src_panel_stride=a.panel_stride)
        accesses = [self.read(a.words, "source", "src")]
        same_size = (a.kind == Element.INT16) == (kind == Element.INT16)
        in_place = a if same_size and self.chance(0.25) else None
        self._requant(fields, accesses, kind, a.rows, a.panels * self.config.tiles_per_panel, keep=[a],
                      place=in_place, source=a)

    def _constant_records(self, channels, keep):
        """Records that make ``channels`` constant, and of which tiles that is known: all channels, by constants of the image."""
        records = self.load_constant(
            parameter_records(self.config, self.rng, channels.size // self.config.cols, constant=channels), keep)
        kind, _ = self.memory.buffers[records.node.fields["dram_addr"].buffer]
        return records, channels.reshape(-1, self.config.cols).all(1) & (kind == "constant")

    def _requant_records(self, tiles, keep):
        """Records of so many tiles for a REQUANT, and as `_constant_records` which are known to be constant."""
        if not self.config.constant_channels or self.chance(0.6):
            return self.new_records(tiles, keep), np.zeros(tiles, bool)
        channels = self.rng.random((tiles, self.config.cols)) < self.rng.choice([0.1, 1], (tiles, 1))
        return self._constant_records(channels.reshape(-1), keep)

    def _requant(self, fields, accesses, kind, rows, tiles, keep, place=None, source=None, sums=None, constant=None):
        """``sums``: `Results` that are the source; ``constant``: as of `_requant_acc`."""
        c = self.config
        read = [] if source is None else [source]
        keep = keep if constant is None else [*keep, constant]
        panels = tiles // c.tiles_per_panel
        if self.chance(0.4):
            second = self.operand((Element.INT8, Element.UINT8, Element.INT16), rows=rows, panels=panels, keep=keep)
            option = "multiply" if fields["src_type"] != Element.ACC and self.chance(0.5) else "residual"
            fields.update({option: 1}, res_type=second.kind, res_base=second.base, res_row_stride=second.row_stride,
                          res_panel_stride=second.panel_stride)
            accesses.append(self.read(second.words, "source", "src"))
            keep, read = [*keep, second], [*read, second]
        hold = self.chance(0.2)
        if constant is None:
            records, without_sums = self._requant_records(1 if hold else tiles, keep)
        else:
            records, without_sums = constant, np.ones(tiles, bool)
        keep = [*keep, records]
        if kind != Element.INT16 and not self.tables and self.chance(0.2):
            self.draw_table(keep=keep)
        fields.update(self._requant_options(kind), param_base=records.base, param_hold=hold)
        divided = [s for s in self.divided if s[1] >= rows]
        if divided and constant is None and self.chance(0.5):
            base, _ = self.pick(divided)
            fields.update(row_scale=1, state_base=base)
            accesses.append(self.access("state", base + np.arange(rows), False, "source", "sync"))
            without_sums = without_sums & False
        if sums is not None:
            words = sums.words.reshape(tiles, -1)[~np.broadcast_to(without_sums, tiles)]
            accesses.insert(0, self.access("accumulators", words, False, "source", "src"))
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
        if x.rows > self.config.state_rows:
            return
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
                fields = dict(src_type=kind, src_base=x.base, src_row_stride=x.row_stride,
                              src_panel_stride=x.panel_stride)
                self._requant(fields, [self.read(x.words, "source", "src")], y.kind, rows, panels * c.tiles_per_panel,
                              keep=[x, y], place=y, source=x)
            if y.alive:
                self.store(y)

    def draw_table(self, keep=()):
        base = self.load_constant(self.rng.integers(0, 256, 256, np.uint8), keep=list(keep))
        slot = int(self.rng.integers(2))
        self.add(Node("TABLE", dict(src_base=base.base, slot=slot), [self.read(base.words, "source", "src")]))
        self.tables.add(slot)
