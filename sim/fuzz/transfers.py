"""How operands get into the scratchpad and back to memory."""

import numpy as np

from weft.hw.isa import Element

from .contents import element_values, parameter_records, score_records, weight_tiles
from .operands import Operand, Words
from .places import Places
from .program import Address, Node

__all__ = ["Transfers"]


class Transfers(Places):
    """Buffers, and the instructions of the load and store engines."""

    def __init__(self, config, rng):
        super().__init__(config, rng)
        self._stored = []                                   # name and size of the buffers that STORE wrote
        self._names = 0

    def _name(self, kind):
        self._names += 1
        return f"{kind}{self._names}"

    def constant(self, data):
        return self.memory.add(self._name("constant"), "constant", self._padded(data))

    def new_input(self, data, name="input"):
        """An input buffer; those named "values" may hold anything."""
        return self.memory.add(self._name(name), "input", self._padded(data))

    def _padded(self, data):
        data = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
        return np.pad(data, (0, -data.size % self.config.dma_bytes))

    def _granules(self, size):
        return np.arange(-(-size // self.config.dma_bytes))

    def load_constant(self, data, keep=(), varying=False):
        """Loads bytes to a new place: `Words`. ``varying``: may come from an input instead."""
        data = self._padded(data)
        buffer = self.new_input(data) if varying and self.chance(0.6) or self.chance(0.1) else self.constant(data)
        words = self.allocate(data.size // self.config.word_bytes, keep)[:data.size // self.config.word_bytes]
        return self._load(Words(int(words[0]), words), buffer, 0)

    def _load(self, place, buffer, offset, accesses=(), ring=False):
        """LOAD of consecutive words, in random runs; ``ring``: their order does not matter."""
        c = self.config
        granules = place.words.size // c.dma_words
        outer = self.pick([d for d in range(1, min(granules, 12) + 1) if granules % d == 0])
        rest = granules // outer
        inner = self.pick([d for d in range(1, min(rest, 8) + 1) if rest % d == 0])
        run = rest // inner * c.dma_words
        node = Node("LOAD", dict(
            dram_addr=Address(buffer, offset), spm_addr=place.base, run_words=run, inner_count=inner, outer_count=outer,
            inner_dram_stride=run * c.word_bytes, inner_spm_stride=run, outer_dram_stride=inner * run * c.word_bytes,
            outer_spm_stride=inner * run), [self.access("scratchpad", place.words, True, "load", "dma"), *accesses],
            parts={"signal": outer, "wait": outer})
        self._address(node)
        if ring and outer < 32 and self.chance(0.3):                # every slot of a ring once, from any
            node.fields.update(ring_slots=outer, ring_start=int(self.rng.integers(outer)))
            place.loads = -1
        if not self.chance(0.95):
            node.repeat, node.repeat_register = int(self.rng.integers(1, 4)), self.scalars.scratch()
        place.node, place.loads = node, outer if place.loads >= 0 else -1
        self.add(node)
        return place

    def _address(self, node):
        """Moves part of an address into a scalar register."""
        number, offset = self.scalars.some()
        where = node.fields["dram_addr"]
        if self.chance(0.3) and offset % self.config.dma_bytes == 0 and abs(offset) < 4096:
            if where.offset - offset >= 0:
                node.fields.update(dram_addr=Address(where.buffer, where.offset - offset), dram_reg=number)

    def operand(self, kinds, rows=None, panels=None, unit_rows=False, keep=(), fresh=0.4):
        """An operand of one of ``kinds``, one at hand or a new one from memory."""
        def fits(o):
            return (o.kind in kinds and o.node is not None and rows in (None, o.rows) and panels in (None, o.panels)
                    and (not unit_rows or o.row_stride == 1))

        found = [o for o in self.operands if fits(o)]
        if found and not self.chance(fresh):
            return self.pick(found)
        c = self.config
        kind = self.pick(list(kinds))
        rows = rows or int(self.rng.choice([1, 2, int(self.rng.integers(1, 2 * c.rows + 2))]))
        panels = panels or int(self.rng.integers(1, 4))
        size = 2 if kind == Element.INT16 else 1
        operand = self.new_operand(kind, rows, panels, keep, unit_rows)
        # The whole extent is loaded, strides and all.
        extent = int(operand.words.max()) + 1 - operand.base
        extent = -(-extent // c.dma_words) * c.dma_words
        whole = Words(operand.base, operand.base + np.arange(extent))
        data = element_values(self.rng, kind, extent * c.word_bytes // size)
        buffer = self.new_input(data, "values") if self.chance(0.7) else self.constant(data)
        panel_words = size * rows
        if operand.row_stride == size and operand.panel_stride == panel_words and panel_words % c.dma_words == 0:
            self._load_panels(operand, buffer)
        else:
            self._load(whole, buffer, 0, ring=True)
            operand.node = whole.node
        if operand not in self.operands:
            self.operands.append(operand)
            operand.alive = True
        return operand

    def load_panels(self, operand):
        """LOAD of new values of a dense operand, whose panels are whole DMA granules."""
        elements = operand.words.size * self.config.word_bytes // operand.element_words
        data = element_values(self.rng, operand.kind, elements)
        self._load_panels(operand, self.new_input(data, "values") if self.chance(0.7) else self.constant(data))

    def _load_panels(self, operand, buffer):
        """LOAD of one panel in each outer iteration."""
        panel_words = operand.element_words * operand.rows
        size = panel_words * self.config.word_bytes
        node = Node("LOAD", dict(
            dram_addr=Address(buffer), spm_addr=operand.base, run_words=panel_words, inner_count=1,
            outer_count=operand.panels, outer_dram_stride=size, outer_spm_stride=panel_words), [
                self.access("scratchpad", operand.words, True, "load", "dma")],
            {"signal": operand.panels, "wait": operand.panels})
        self._address(node)
        self.align_with_readers(node, operand, "dma")
        operand.node, operand.by_panel = node, True
        self.add(node)

    def align(self, node, x, role):
        """Lets a node take a token for each panel of an operand that it reads."""
        if x.node is not None and x.by_panel:
            node.aligned.add((x.node, "load" if x.node.mnemonic == "LOAD" else "written", role))

    def align_with_readers(self, node, x, role):
        """Lets a node that writes an operand take a token for each panel that others have read."""
        node.aligned.update((*reader, role) for reader in x.readers)
        x.readers.clear()

    def new_weights(self, k_tiles, n_tiles, keep=()):
        """Weight tiles from a constant."""
        return self.load_constant(weight_tiles(self.config, self.rng, k_tiles * n_tiles), keep)

    def new_records(self, tiles, keep=()):
        """Parameter records of so many tiles, new or used before."""
        found = [r for r, n in self.records if n >= tiles]
        if found and self.chance(0.5):
            return self.pick(found)
        records = self.load_constant(parameter_records(self.config, self.rng, tiles), keep, varying=self.chance(0.2))
        self.records.append((records, tiles))
        return records

    def new_score_records(self, keep=()):
        """Score records, then an output scale's."""
        return self.load_constant(score_records(self.config, self.rng), keep)

    def store(self, x):
        c = self.config
        size = 2 if x.kind == Element.INT16 else 1
        first = int(x.words.min())
        # Consecutive words only: a panel or a row at a time where the layout allows, else one granule.
        if x.row_stride == size and size * x.rows % c.dma_words == 0 and first % c.dma_words == 0 and (
                x.panels == 1 or x.panel_stride % c.dma_words == 0):
            outer, run, stride = x.panels, size * x.rows, x.panel_stride
        elif x.panel_stride == size and size * x.panels % c.dma_words == 0 and first % c.dma_words == 0 and (
                x.rows == 1 or x.row_stride % c.dma_words == 0):
            outer, run, stride = x.rows, size * x.panels, x.row_stride
        else:
            return
        bytes_ = outer * run * c.word_bytes
        reuse = [b for b, n in self._stored if n == bytes_]
        if reuse and self.chance(0.3):
            name = self.pick(reuse)
        else:
            name = self._name("store")
            kind = self.pick(["output", "work"]) if self._stored else "output"
            self.memory.add(name, kind, np.zeros(bytes_, np.uint8))
            self.sizes[name] = self._granules(bytes_).size
            self._stored.append((name, bytes_))
        inner = self.pick([d for d in (1, 1, 2, 3, 4) if run % (d * c.dma_words) == 0])
        part = run // inner
        node = Node("STORE", dict(dram_addr=Address(name), spm_addr=first, run_words=part, inner_count=inner,
                                  inner_dram_stride=part * c.word_bytes, inner_spm_stride=part, outer_count=outer,
                                  outer_dram_stride=run * c.word_bytes, outer_spm_stride=stride), [
            self.read(x.words, "store", "dma"),
            self.access(name, self._granules(bytes_), True, "store", "dma")], parts={"signal": outer, "wait": outer})
        if stride % c.dma_words == 0 and outer < 32 and self.chance(0.2):
            node.fields.update(ring_slots=outer, ring_start=int(self.rng.integers(outer)))
        elif outer == x.panels and x.row_stride == size:
            self.align(node, x, "dma")
            x.readers.append((node, "store"))
        self._address(node)
        self.add(node)

    def reload(self):
        if not self._stored:
            return
        name, size = self.pick(self._stored)
        c = self.config
        words = self.allocate(size // c.word_bytes)[:size // c.word_bytes]
        rows = words.size
        if rows > 64:
            return
        operand = Operand(int(words[0]), words, kind=self.pick([Element.INT8, Element.UINT8]), rows=rows, panels=1,
                          row_stride=1, panel_stride=rows)
        self._load(operand, name, 0, [self.access(name, self._granules(size), False, "load", "dma")])
        self.operands.append(operand)

    def gather(self):
        c = self.config
        entries = int(self.rng.integers(1, min(20, c.index_entries) + 1))
        table_rows = int(self.rng.integers(1, 12))
        run = c.dma_words * int(self.rng.integers(1, 3))
        stride = run * c.word_bytes + c.dma_bytes * int(self.rng.integers(2))
        table = element_values(self.rng, Element.INT8, table_rows * stride)
        table = self.constant(table) if self.chance(0.7) else self.new_input(table)
        indices = self.new_input(self.rng.integers(0, table_rows, entries).astype("<i4"))
        # Tokens that the load engine gives itself.
        own = [self.chance(0.3), self.chance(0.3)]
        if any(own):
            self.add(Node("LOAD_SYNC", {}, control=[("LOAD_SYNC", dict(signal=31, signal_count=sum(own)))]))
        node = self.add(Node("INDEX", dict(dram_addr=Address(indices), count=entries, wait=31 * own[0])))
        self._address(node)
        first = int(self.rng.integers(entries))
        count = int(self.rng.integers(1, entries - first + 1))
        words = self.allocate(count * run)[:count * run]
        operand = Operand(int(words[0]), words, kind=Element.INT8, rows=count * run, panels=1, row_stride=1,
                          panel_stride=count * run)
        node = Node("GATHER", dict(dram_addr=Address(table), dram_stride=stride, spm_addr=operand.base, spm_stride=run,
                                   run_words=run, first=first, count=count, wait=31 * own[1]),
                    [self.access("scratchpad", words, True, "load", "dma")])
        self._address(node)
        operand.node = node
        self.add(node)
        if operand.rows <= 64:
            self.operands.append(operand)
