"""Where operands of random programs lie: over whatever was there before, which is forgotten."""

import dataclasses

import numpy as np

from weft.hw.isa import Element

from .control import Scalars
from .operands import Operand, Results
from .program import Access, Memory, assemble

__all__ = ["Places"]


class Places:
    """A program being drawn: its nodes, and what the words of the memories hold.

    ``operands``, ``results``, ``records`` (with how many tiles they serve): what later instructions can use;
    ``divided``: state rows ``(first, number)`` that a softmax has left.
    """

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        self.memory, self.nodes = Memory(), []
        self.sizes = {"scratchpad": config.scratchpad_words, "accumulators": config.accumulator_words,
                      "state": config.state_rows}
        self.scalars = Scalars(config, rng)
        self.operands, self.results, self.records, self.divided = [], [], [], []
        # Programs that use a part of the memories reuse words sooner.
        self._part = float(rng.choice([1, 0.3]))

    def chance(self, p):
        return int(self.rng.random() < p)

    def pick(self, items):
        return items[int(self.rng.integers(len(items)))]

    def add(self, node):
        self.nodes.append(node)
        return node

    def image(self, keep=None):
        """``(Image, inputs)`` of the nodes (those in ``keep``)."""
        nodes = self.nodes if keep is None else [self.nodes[n] for n in keep]
        rng = np.random.default_rng(len(self.nodes))
        return assemble(self.config, nodes, self.memory, self.sizes, rng, self.scalars.initial)

    def access(self, space, words, write, kind, role):
        if space == "accumulators" and write:
            self._kill(self.results, lambda r: r.words, words, keep_exact=True)
        if space == "scratchpad" and write:
            self._kill(self.operands, lambda o: o.words, words, keep_exact=True)
            self.records = [r for r in self.records if not np.isin(r[0].words, words).any() or r[0].node is None]
        return Access(space, np.asarray(words).reshape(-1), write, kind, role)

    def read(self, words, kind, role):
        return self.access("scratchpad", words, False, kind, role)

    def _kill(self, items, words_of, words, keep_exact):
        """Forgets operands that other words replace."""
        for item in list(items):
            own = words_of(item)
            if np.isin(own, words).any() and not (keep_exact and np.array_equal(own, words)):
                item.alive = False
                items.remove(item)

    def allocate(self, words, keep=()):
        """Scratchpad words in a row at a random even place, over anything but ``keep``."""
        unit = max(2, self.config.dma_words)
        size = -(-words // unit) * unit
        busy = np.concatenate([k.words for k in keep]) if keep else np.empty(0, np.int64)
        for attempt in range(200):
            limit = max(size, int(self.config.scratchpad_words * (self._part if attempt < 50 else 1)))
            base = int(self.rng.integers(0, (limit - size) // unit + 1)) * unit
            found = np.arange(base, base + size)
            if not np.isin(busy, found).any():
                self._claim(found)
                return found
        raise RuntimeError("the scratchpad is too small for the fuzzer's operands")

    def _claim(self, words):
        """Forgets what lies in scratchpad words."""
        self._kill(self.operands, lambda o: o.words, words, keep_exact=False)
        self.records = [r for r in self.records if not np.isin(r[0].words, words).any()]

    def _reserved(self, operand):
        """Words from an operand's first to its last, in the unit of `allocate`."""
        unit = max(2, self.config.dma_words)
        size = int(operand.words.max()) + 1 - operand.base
        return operand.base + np.arange(-(-size // unit) * unit)

    def new_results(self, tiles, rows, avoid=None):
        """Accumulator words to overwrite: the place of others of the same shape, or any."""
        same = [r for r in self.results if (r.tiles, r.rows) == (tiles, rows)
                and (avoid is None or not np.isin(r.words, avoid.words).any())]
        if same and self.chance(0.5):
            results = self.pick(same)
            results.depth = 0
            return results
        stride = rows + int(self.rng.integers(3))
        size = stride * (tiles - 1) + rows
        for attempt in range(200):
            limit = max(size, int(self.config.accumulator_words * self._part / 4) if attempt < 50 else
                        self.config.accumulator_words)
            base = int(self.rng.integers(0, limit - size + 1))
            results = Results(base, stride, tiles, rows)
            if avoid is None or not np.isin(results.words, avoid.words).any():
                self._kill(self.results, lambda r: r.words, results.words, keep_exact=False)
                self.results.append(results)
                return results
        raise RuntimeError("the accumulators are too small for the fuzzer's operands")

    def state_rows(self, rows):
        base = int(self.rng.integers(0, self.config.state_rows - rows + 1))
        self.divided = [(b, n) for b, n in self.divided if b + n <= base or b >= base + rows]
        return base + np.arange(rows)

    def new_operand(self, kind, rows, panels, keep=(), unit_rows=False, dense=False):
        """A place for an operand, that of another one or any, in a random layout; not yet written.

        ``unit_rows``: rows follow each other; ``dense``: also panels do, and the place is not that of another one.
        """
        busy = np.concatenate([k.words for k in keep]) if keep else np.empty(0, np.int64)
        same = [o for o in self.operands if (o.kind == Element.INT16) == (kind == Element.INT16)
                and (o.rows, o.panels) == (rows, panels) and (not unit_rows or o.row_stride == 1)
                and not np.isin(self._reserved(o), busy).any()]
        if same and not dense and self.chance(0.5):
            before = self.pick(same)
            self._claim(self._reserved(before))
            operand = dataclasses.replace(before, kind=kind, node=None, by_panel=False, alive=True)
            self.operands.append(operand)
            return operand
        size = 2 if kind == Element.INT16 else 1
        if dense or unit_rows or self.chance(0.6):
            row_stride, panel_stride = size, size * (rows + (0 if dense else int(self.rng.integers(2))))
        else:
            panel_stride, row_stride = size, size * (panels + int(self.rng.integers(2)))
        if row_stride >= 4096:
            row_stride, panel_stride = size, size * rows
        extent = (rows - 1) * row_stride + (panels - 1) * panel_stride + size
        place = self.allocate(extent, keep)
        operand = Operand(int(place[0]), None, kind=kind, rows=rows, panels=panels, row_stride=row_stride,
                          panel_stride=panel_stride)
        operand.words = operand.words_of(rows, panels)
        self.operands.append(operand)
        return operand
