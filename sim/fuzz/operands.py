"""Operands of random programs: where they lie, what they hold, and how they get there."""

from dataclasses import dataclass

import numpy as np

from weft.hw.isa import REGISTERS, Element

from .program import Access, Address, Memory, Node, assemble

__all__ = ["Generator", "Operand", "Results", "Words"]


@dataclass(eq=False)
class Words:
    """Scratchpad words: ``node`` wrote them (in ``loads`` outer iterations)."""
    base: int
    words: np.ndarray
    node: Node = None
    loads: int = 1
    alive: bool = True


@dataclass(eq=False)
class Operand(Words):
    """A tensor in the scratchpad, fully written. ``by_panel``: its node can send a token for each panel."""
    kind: Element = Element.INT8
    rows: int = 0
    panels: int = 0
    row_stride: int = 0
    panel_stride: int = 0
    by_panel: bool = False

    def words_of(self, rows, panels):
        """Words of the first rows of the first panels."""
        size = 2 if self.kind == Element.INT16 else 1
        return (self.base + (np.arange(rows) * self.row_stride)[:, None, None]
                + (np.arange(panels) * self.panel_stride)[:, None] + np.arange(size)).reshape(-1)


@dataclass(eq=False)
class Results:
    """Accumulator words of N tiles. ``depth``: products added since they were last overwritten."""
    base: int
    stride: int
    tiles: int
    rows: int
    writer: Node = None
    reader: Node = None
    depth: int = 0
    alive: bool = True

    @property
    def words(self):
        return (self.base + (np.arange(self.tiles) * self.stride)[:, None] + np.arange(self.rows)).reshape(-1)


class Generator:
    """State of a program being drawn, and the parts that every instruction draws on."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        self.memory, self.nodes = Memory(), []
        self.sizes = {"scratchpad": config.scratchpad_words, "accumulators": config.accumulator_words,
                      "state": config.state_rows}
        self.operands, self.results, self.tables, self.divided = [], [], set(), []
        self.records = []                                   # `Words` of parameter records, and how many tiles
        # Programs that use a part of the memories reuse words sooner.
        self.part = float(rng.choice([1, 0.3]))
        self.stored = []                                    # (buffer, Operand layout) of what STORE wrote
        self.initial = {n: int(rng.integers(-64, 64)) * config.dma_bytes for n in range(1, 6)}
        self.registers = dict(self.initial)
        self._semaphores = []
        self._names = 0

    # Draws.

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
        return assemble(self.config, nodes, self.memory, self.sizes, np.random.default_rng(len(self.nodes)), self.initial)

    def access(self, space, words, write, kind, role, forget=False):
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

    # Places.

    def allocate(self, words, keep=()):
        """Scratchpad words in a row at a random even place, over anything but ``keep``."""
        unit = max(2, self.config.dma_words)
        size = -(-words // unit) * unit
        busy = np.concatenate([k.words for k in keep]) if keep else np.empty(0, np.int64)
        for attempt in range(200):
            limit = max(size, int(self.config.scratchpad_words * self.part) if attempt < 50 else self.config.scratchpad_words)
            base = int(self.rng.integers(0, (limit - size) // unit + 1)) * unit
            found = np.arange(base, base + size)
            if not np.isin(busy, found).any():
                self._kill(self.operands, lambda o: o.words, found, keep_exact=False)
                self.records = [r for r in self.records if not np.isin(r[0].words, found).any()]
                return found
        raise RuntimeError("the scratchpad is too small for the fuzzer's operands")

    def new_results(self, tiles, rows, avoid=None):
        stride = rows + int(self.rng.integers(3))
        size = stride * (tiles - 1) + rows
        for attempt in range(200):
            limit = max(size, int(self.config.accumulator_words * self.part / 4) if attempt < 50 else
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

    def new_operand(self, kind, rows, panels, keep=(), unit_rows=False):
        """A place for an operand, in a random layout; not yet written."""
        size = 2 if kind == Element.INT16 else 1
        if unit_rows or self.chance(0.6):
            row_stride, panel_stride = size, size * (rows + int(self.rng.integers(2)))
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

    # Contents.

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

    def values(self, kind, shape):
        """Element values: all of the range, or small ones, or extremes."""
        low, high = {Element.INT8: (-128, 127), Element.UINT8: (0, 255), Element.INT16: (-32768, 32767)}[kind]
        style = self.rng.random()
        if style < 0.6:
            values = self.rng.integers(low, high + 1, shape)
        elif style < 0.9:
            values = self.rng.integers(max(low, -4), 5, shape)
        else:
            values = self.rng.choice([low, high, 0, 1], shape)
        return values.astype(np.int16 if kind == Element.INT16 else np.uint8 if kind == Element.UINT8 else np.int8)

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
            node.repeat, node.repeat_register = int(self.rng.integers(1, 4)), self.scratch_register()
        place.node, place.loads = node, outer if place.loads >= 0 else -1
        self.add(node)
        return place

    def _address(self, node):
        """Moves part of an address into a scalar register."""
        number, offset = self.some_register()
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
        data = self.values(kind, extent * c.word_bytes // size)
        buffer = self.new_input(data, "values") if self.chance(0.7) else self.constant(data)
        panel_words = size * rows
        if operand.row_stride == size and operand.panel_stride == panel_words and panel_words % c.dma_words == 0:
            self._load_panels(operand, buffer, panel_words)
        else:
            self._load(whole, buffer, 0, ring=True)
            operand.node = whole.node
        if operand not in self.operands:
            self.operands.append(operand)
            operand.alive = True
        return operand

    def _load_panels(self, operand, buffer, panel_words):
        """LOAD of one panel in each outer iteration."""
        size = panel_words * self.config.word_bytes
        node = Node("LOAD", dict(
            dram_addr=Address(buffer), spm_addr=operand.base, run_words=panel_words, inner_count=1,
            outer_count=operand.panels, outer_dram_stride=size, outer_spm_stride=panel_words), [
                self.access("scratchpad", operand.words, True, "load", "dma")], parts={"signal": operand.panels, "wait": operand.panels})
        self._address(node)
        operand.node, operand.by_panel = node, True
        self.add(node)

    def weight_data(self, k_tiles, n_tiles):
        """Weight tiles uint8[bytes] as they lie in memory; the bytes that do not count are arbitrary."""
        c = self.config
        tiles = self.rng.integers(0, 256, (k_tiles * n_tiles, c.weight_tile_words * c.word_bytes), np.uint8)
        rows = tiles.reshape(len(tiles), -1, c.weight_slot_bytes)
        limit = int(self.rng.choice([3, 127]))
        rows[:, :c.rows, :c.cols] = self.rng.integers(-limit, limit + 1, (len(tiles), c.rows, c.cols)).astype(np.uint8)
        return tiles

    def new_weights(self, k_tiles, n_tiles, keep=()):
        return self.load_constant(self.weight_data(k_tiles, n_tiles), keep)

    def record_data(self, tiles, score=False):
        """Parameter records of ``tiles`` tiles; ``score``: scores of moderate size."""
        c = self.config
        count = tiles * c.groups_per_tile
        data = self.rng.integers(0, 256, (count, c.param_group_words * c.word_bytes), np.uint8)
        shape = count, c.vector_lanes
        bias = self.rng.integers(-(1 << int(self.rng.integers(1, 29))), 1 << int(self.rng.integers(1, 29)), shape)
        mult = self.rng.integers(-(1 << 17), 1 << 17, shape)
        shift = self.rng.integers(*self.pick([(1, 12), (8, 24), (16, 36), (1, 64)]), shape)
        if score:
            bias, shift = bias >> 12, self.rng.integers(10, 26, shape)
        zero = self.rng.integers(0, 256, shape)
        high = (mult & 0x3FFFF) | shift << 18 | zero << 24
        records = np.stack([bias.astype(np.int64) & 0xFFFFFFFF, high], axis=-1).astype("<u4")
        data[:, :8 * c.vector_lanes] = records.view(np.uint8).reshape(count, -1)
        return data

    def new_records(self, tiles, keep=()):
        """Parameter records of so many tiles, new or used before."""
        found = [r for r, n in self.records if n >= tiles]
        if found and self.chance(0.5):
            return self.pick(found)
        records = self.load_constant(self.record_data(tiles), keep, varying=self.chance(0.2))
        self.records.append((records, tiles))
        return records

    def new_score_records(self, keep=()):
        """Score records, then an output scale's."""
        scale = self.record_data(1)
        scale.reshape(-1)[6] &= 0x7F                        # the division's shift stays below 64
        scale.reshape(-1)[6:7] |= 4
        return self.load_constant(np.concatenate([self.record_data(1, score=True), scale]), keep)

    # Memory.

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
        reuse = [b for b, n in self.stored if n == bytes_]
        if reuse and self.chance(0.3):
            name = self.pick(reuse)
        else:
            name = self._name("store")
            self.memory.add(name, self.pick(["output", "work"]) if self.stored else "output", np.zeros(bytes_, np.uint8))
            self.sizes[name] = self._granules(bytes_).size
            self.stored.append((name, bytes_))
        inner = self.pick([d for d in (1, 1, 2, 3, 4) if run % (d * c.dma_words) == 0])
        part = run // inner
        node = Node("STORE", dict(dram_addr=Address(name), spm_addr=first, run_words=part, inner_count=inner,
                                  inner_dram_stride=part * c.word_bytes, inner_spm_stride=part, outer_count=outer,
                                  outer_dram_stride=run * c.word_bytes, outer_spm_stride=stride), [
            self.read(x.words, "store", "dma"),
            self.access(name, self._granules(bytes_), True, "store", "dma")], parts={"signal": outer, "wait": outer})
        if stride % c.dma_words == 0 and outer < 32 and self.chance(0.2):
            node.fields.update(ring_slots=outer, ring_start=int(self.rng.integers(outer)))
        elif x.by_panel and outer == x.panels and x.row_stride == size and x.node is not None:
            node.aligned.add((x.node, "load" if x.node.mnemonic == "LOAD" else "written", "dma"))
        self._address(node)
        self.add(node)

    def reload(self):
        if not self.stored:
            return
        name, size = self.pick(self.stored)
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
        table = self.values(Element.INT8, table_rows * stride)
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

    # Control.

    def ring_semaphores(self):
        """Two semaphores of their own; `assemble` keeps clear of them."""
        if not self._semaphores:
            self._semaphores = [1, 2]
        return self._semaphores

    def some_register(self):
        number = self.pick(sorted(self.registers))
        return number, self.registers[number]

    def scratch_register(self):
        return int(self.rng.integers(10, REGISTERS))

    def control(self):
        """CALC, and branches: over something, not taken, or a loop of its own."""
        rng = self.rng
        style = rng.random()
        if style < 0.5:
            rd, ra, rb = (int(rng.integers(0, 6)) for _ in range(3))
            left, right, imm = int(rng.integers(8)), int(rng.integers(8)), int(rng.integers(-(1 << 20), 1 << 20))
            value = (((self._value(ra) << left) + self._value(rb) + imm + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
            control = [("CALC", dict(rd=rd, ra=ra, rb=rb, left=left, right=right, imm=imm))]
            if rd:
                self.registers[rd] = value >> right
            if rd and self.chance(0.7):
                self.registers[rd] = int(rng.integers(-64, 64)) * self.config.dma_bytes
                control.append(("CALC", dict(rd=rd, imm=self.registers[rd])))
        elif style < 0.8:
            ra, rb, cond = int(rng.integers(0, 6)), int(rng.integers(0, 6)), int(rng.integers(4))
            a, b = self._value(ra), self._value(rb)
            taken = (a == b, a != b, a < b, a >= b)[cond]
            skipped = [("END", {}), ("LOAD", dict(outer_count=3, run_words=77)), ("MATMUL", dict(rows=5))]
            skipped = skipped[:int(rng.integers(1, 4))]
            if taken:
                control = [("BRANCH", dict(cond=cond, ra=ra, rb=rb, offset=len(skipped))), *skipped]
            else:
                control = [("BRANCH", dict(cond=cond, ra=ra, rb=rb, offset=int(rng.integers(-2, 3))))]
        else:
            r = self.scratch_register()
            control = [("CALC", dict(rd=r, imm=int(rng.integers(1, 6)))), ("CALC", dict(rd=r, ra=r, imm=-1)),
                       ("BRANCH", dict(cond=1, ra=r, rb=0, offset=-2))]
        self.add(Node("CALC", {}, control=control))

    def _value(self, number):
        return self.registers.get(number, 0)
