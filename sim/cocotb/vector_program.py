"""Random vector instructions, with the memories they start from and the tokens that announce their operands."""

import numpy as np

from weft.hw import isa
from weft.hw.isa import Element
from weft.sim.cocotb.vector_model import VectorModel, records_bytes

__all__ = ["VectorProgram", "SCRATCHPAD", "ACCUMULATORS", "DESTINATION_SIGNALS"]

SCRATCHPAD, ACCUMULATORS = 0, 1
#: Counters that tell of written destinations.
DESTINATION_SIGNALS = (4, 17)
# Counters that sources, destinations and VECTOR_SYNC wait for, and those that sources and VECTOR_SYNC signal.
_SOURCE_WAITS, _DESTINATION_WAITS, _SYNC_WAITS = (1, 13, 31), (3, 16), (9, 10)
_SOURCE_SIGNALS, _SYNC_SIGNALS = (2, 14, 30), (8, 11)
_BITS = {Element.INT8: 7, Element.UINT8: 8, Element.INT16: 15, Element.ACC: 20}


class _Full(Exception):
    """The memories have no room for the instruction drawn."""


class VectorProgram:
    """Instructions for the vector engine alone. ``seed``: of everything random.

    Attributes
    ----------
    scratchpad : uint8[scratchpad_words, word_bytes]; accumulators : int32[accumulator_words, cols]
        What the instructions compute with.
    instructions : list of (mnemonic, fields)
    reveals : list of (token, memory, first word, words)
        In this order, at any time, the words get their contents, and with them the counter a token.
    hides : list of (token, memory, first word, words)
        The n-th signal of a counter gives the words of the counter's n-th entry back: they may change from then on.
    """

    def __init__(self, config, seed):
        self.config = config
        self.random = np.random.default_rng(seed)
        self.scratchpad = self.random.integers(0, 256, (config.scratchpad_words, config.word_bytes), np.uint8)
        self.accumulators = self.random.integers(-1 << 20, 1 << 20, (config.accumulator_words, config.cols), np.int32)
        self.instructions, self.reveals, self.hides = [], [], []
        self.free = self.free_accumulators = 0
        self._divisions, self._tables = [], set()

    # Placing operands.

    def alloc(self, words):
        """First of ``words`` new scratchpad words, at an even address."""
        first, after = self.free, self.free + words + (words & 1)
        if after > self.config.scratchpad_words:
            raise _Full
        self.free = after
        return first

    def alloc_accumulators(self, words):
        """First of ``words`` new accumulator words."""
        first, after = self.free_accumulators, self.free_accumulators + words
        if after > self.config.accumulator_words:
            raise _Full
        self.free_accumulators = after
        return first

    def put(self, base, data):
        """Bytes into the scratchpad from a word on."""
        self.scratchpad.reshape(-1)[base * self.config.word_bytes:][:data.size] = data.reshape(-1)

    def put_records(self, groups, bias, mult, shift, zero):
        """Places records of whole groups; arrays of ``groups * vector_lanes``. Returns the first word."""
        size = self.config.param_group_words
        base = self.alloc(groups * size)
        raw = records_bytes(bias, mult, shift, zero).reshape(groups, 8 * self.config.vector_lanes)
        for group in range(groups):
            self.put(base + group * size, raw[group])
        return base

    def random_records(self, groups, bits, target_bits, constants=False):
        """Records that bring values of ``bits`` bits to about ``target_bits``; ``constants``: some or all channels constant."""
        random, count = self.random, groups * self.config.vector_lanes
        mult = random.integers(1 << 15, 1 << 17, count) * random.choice([1, 1, 1, -1], count)
        shift = np.clip(bits + 16 - target_bits + random.integers(-2, 3, count), 1, 63)
        bias = random.integers(-1 << min(bits, 28), 1 << min(bits, 28), count)
        if constants:
            constant = random.random(count) < random.choice([0.2, 1])
            bias = np.where(constant, bias >> random.integers(0, 28), bias)
            mult = np.where(constant & (random.random(count) < 0.8), 1, mult)
            shift = np.where(constant, 0, shift)
        return self.put_records(groups, bias, mult, shift, random.integers(-128, 256, count))

    def place(self, element, rows, panels):
        """A tensor with random elements; returns its base, row stride and panel stride."""
        step = 2 if element == Element.INT16 else 1
        if self.random.random() < 0.5:         # row by row, or panel by panel
            row_stride, panel_stride = step * panels, step
        else:
            row_stride, panel_stride = step, step * rows + 2 * self.random.integers(0, 2)
        return self.alloc(rows * panels * step + 2 * panels), int(row_stride), int(panel_stride)

    def add(self, mnemonic, **fields):
        self.instructions.append((mnemonic, fields))

    # Random instructions.

    def add_random(self, kind):
        """Adds what the method of this name draws; False where the memories are too full for it."""
        before = self.free, self.free_accumulators, list(self._divisions), set(self._tables)
        lengths = [(part, len(part)) for part in (self.instructions, self.reveals, self.hides)]
        try:
            getattr(self, kind)()
        except _Full:
            self.free, self.free_accumulators, self._divisions, self._tables = before
            for part, length in lengths:
                del part[length:]
            return False
        return True

    def requant(self, source=None):
        """Any source (``source``: of this Element), second operand, destination and option."""
        config, random = self.config, self.random
        rows, panels = int(random.integers(1, 14)), int(random.integers(1, 4))
        tiles = panels * config.tiles_per_panel
        if source is None:
            source = Element(random.integers(0, 4))
        fields = dict(src_type=source, dst_type=Element(random.integers(0, 3)), param_hold=int(random.integers(0, 2)))
        bits = _BITS[source]
        if source == Element.ACC and self._divisions and random.random() < 0.8:
            state, available = self._divisions[random.integers(0, len(self._divisions))]
            rows = min(rows, available)
            fields |= dict(row_scale=1, state_base=state)
        if self._tables and fields["dst_type"] != Element.INT16 and random.random() < 0.6:
            fields |= dict(table=1, slot=int(random.choice(sorted(self._tables))))
        if source == Element.ACC:
            stride = rows + int(random.integers(0, 3))
            base = self.alloc_accumulators(stride * (tiles - 1) + rows)
            fields |= dict(src_base=base, src_row_stride=1, src_panel_stride=stride)
            ranges = [(ACCUMULATORS, base + tile * stride, rows) for tile in range(tiles)]
            if "row_scale" in fields:
                part = self.accumulators[base:base + stride * (tiles - 1) + rows]
                part[:] = random.integers(-1 << 24, 1 << 24, part.shape)
            option = random.integers(0, 2)
        else:
            base, row_stride, panel_stride = self.place(source, rows, panels)
            fields |= dict(src_base=base, src_row_stride=row_stride, src_panel_stride=panel_stride)
            ranges = [(SCRATCHPAD, base, self.free - base)]
            option = random.integers(0, 4)
        if option:
            kind = Element(random.integers(0, 3))
            where, row_stride, panel_stride = self.place(kind, rows, panels)
            fields |= dict(res_type=kind, res_base=where, res_row_stride=row_stride, res_panel_stride=panel_stride,
                           residual=int(option in (1, 3)), multiply=int(option in (2, 3)))
            if option >= 2:
                bits += 15
        where, row_stride, panel_stride = self.place(fields["dst_type"], rows, panels)
        fields |= dict(rows=rows, tiles=tiles, dst_base=where, dst_row_stride=row_stride, dst_panel_stride=panel_stride)
        groups = config.groups_per_tile * (1 if fields["param_hold"] else tiles)
        target_bits = 15 if fields["dst_type"] == Element.INT16 else 7
        fields["param_base"] = self.random_records(groups, min(bits, 30), target_bits,
                                                   config.constant_channels and random.random() < 0.4)
        self._tokens(fields, ranges, tiles, panels)
        self.add("REQUANT", **fields)

    def norm(self, features=None):
        """STATS, then two NORMs: ordinary, constant, zero and extreme rows of ``features`` or any number of them."""
        config, random = self.config, self.random
        rows, panels = int(random.integers(1, 10)), int(random.integers(1, 6))
        if features is None:
            features = int(random.integers((panels - 1) * config.panel + 1, panels * config.panel + 1))
        base, row_stride, panel_stride = self.place(Element.INT16, rows, panels)
        amplitude = int(random.choice([1, 30, 3000, 32767]))
        values = random.integers(-amplitude, amplitude + 1, (rows, panels * config.panel))
        if rows > 2:
            values[0] = 0
            values[1] = 1234
            values[2] = random.choice([-32768, 32767], values.shape[1])
        values[:, features:] = 0
        for row in range(rows):
            for panel in range(panels):
                part = values[row, panel * config.panel:(panel + 1) * config.panel].astype("<i2").view(np.uint8)
                self.put(base + row * row_stride + panel * panel_stride, part)
        tiles = panels * config.tiles_per_panel
        source = dict(src_base=base, src_row_stride=row_stride, src_panel_stride=panel_stride, rows=rows, tiles=tiles,
                      features=features, state_base=self._state(rows))
        eps = int(random.choice([0, 0, 1, 1 << 20, (1 << 59) - 1]))
        fields = source | dict(rms=int(random.integers(0, 2)), eps=eps)
        # NORM reads the source again.
        self._tokens(fields, [(SCRATCHPAD, base, self.free - base)], 1, 0, keep=True)
        self.add("STATS", **fields)
        for kind in Element.INT16, Element(random.integers(0, 2)):
            where, out_row, out_panel = self.place(kind, rows, panels)
            fields = source | dict(dst_type=kind, dst_base=where, dst_row_stride=out_row, dst_panel_stride=out_panel)
            target_bits = 14 if kind == Element.INT16 else 7
            fields["param_base"] = self.random_records(tiles * config.groups_per_tile, 13, target_bits)
            self._tokens(fields, [(SCRATCHPAD, base, 0)], tiles, panels, keep=True)
            self.add("NORM", **fields)

    def softmax(self, case=None):
        """Blocks of keys in turn with causal, length and bit masks, peaky and flat rows, ties; then the division.

        ``case``: "none" (no key at all), "masked" (by the bit mask), "extreme" (scores beyond int16) or "usual".
        """
        config, random = self.config, self.random
        case = case or random.choice(["none", "masked", "extreme", *["usual"] * 5])
        rows, blocks = int(random.integers(1, 12)), int(random.integers(1, 4))
        block_tiles = config.tiles_per_panel
        if random.random() < 0.5:
            block_tiles *= int(random.integers(1, config.key_block // config.panel + 1))
        keys = block_tiles * config.cols
        lanes, groups = config.vector_lanes, config.groups_per_tile
        # A tile's records, of which the first group's count, and behind them the output scale's.
        bias = random.integers(-30, 30, lanes)
        param_base = self.put_records(groups, *(np.tile(v, groups) for v in (
            bias, np.full(lanes, 1 << 15), np.full(lanes, 15), np.full(lanes, 77))))
        out_mult, out_shift = int(random.integers(1, 1 << 17)), int(random.integers(1, 32))
        if block_tiles == config.tiles_per_panel:       # few keys: the last bit of a row's sum shows in an int16 result
            out_mult, out_shift = int(random.integers(1 << 16, 1 << 17)), 9
        self.put_records(1, *(np.full(lanes, v) for v in (0, out_mult, out_shift, 0)))
        causal, mask = int(random.integers(0, 2)), int(case == "masked" or random.random() < 0.5)
        mask_words = -(-(blocks * block_tiles) // config.mask_tiles_per_word)
        mask_base = self.alloc(rows * mask_words)
        if case == "masked":
            self.put(mask_base, np.zeros(rows * mask_words * config.word_bytes // 2, np.uint8))
        limit = 0 if case == "none" else int(random.integers(0, blocks * keys + 3))
        spread = int(random.choice([0, 40, 200, 600, 40000]))
        state = self._state(rows)
        for block in range(blocks):
            size = rows * block_tiles
            base = self.alloc_accumulators(size)
            scores = self.accumulators[base:base + size]
            scores[:] = (random.choice([-1 << 30, 1 << 30, 32767, -32768], scores.shape) if case == "extreme"
                         else random.integers(-spread, spread + 1, scores.shape))
            fields = dict(acc_base=base, acc_stride=rows, rows=rows, tiles=block_tiles, key_start=block * keys,
                          key_limit=limit, causal=causal, query_start=int(random.integers(0, keys)), mask=mask,
                          mask_base=mask_base + block * block_tiles // config.mask_tiles_per_word,
                          mask_row_stride=mask_words, dst_base=self.alloc(rows * block_tiles // config.tiles_per_panel),
                          dst_panel_stride=rows, param_base=param_base, first=int(block == 0),
                          last=int(block == blocks - 1), state_base=state)
            self._tokens(fields, [(ACCUMULATORS, base + tile * rows, rows) for tile in range(block_tiles)], block_tiles,
                         block_tiles // config.tiles_per_panel, dst_wait_each=False)
            self.add("SOFTMAX", **fields)
        self._divisions.append((state, rows))

    def table(self):
        """Entries for one of the two tables."""
        config = self.config
        words = max(2, 256 // config.word_bytes)
        fields = dict(src_base=self.alloc(words), slot=int(self.random.integers(0, 2)))
        self._tokens(fields, [(SCRATCHPAD, fields["src_base"], words)], 1, 0)
        self.add("TABLE", **fields)
        self._tables.add(fields["slot"])

    def sync(self):
        """VECTOR_SYNC of a few tokens, or of none."""
        random = self.random
        wait, signal = int(random.choice([0, *_SYNC_WAITS])), int(random.choice([0, *_SYNC_SIGNALS]))
        count = int(random.integers(1, 8))
        if wait:
            self.reveals += [(wait, SCRATCHPAD, 0, 0)] * count
        self.add("VECTOR_SYNC", wait=wait, wait_count=count, signal=signal, signal_count=int(random.integers(1, 30)))

    def _state(self, rows):
        """First of ``rows`` rows of state, which lose what they held."""
        rows_of_all = self.config.state_rows
        base = int(self.random.integers(0, rows_of_all - rows + 1))
        self._divisions = [(first, count) for first, count in self._divisions
                           if first + count <= base or base + rows <= first]
        return base

    def _tokens(self, fields, ranges, tiles, panels, keep=False, dst_wait_each=True):
        """Tokens of an instruction, tile by tile or at once. ``ranges``: (memory, first word, words) of the source, of
        each tile or of all; with ``keep`` they are not given back. Without ``panels`` there is no destination."""
        random, events = self.random, ([], [])
        each_tile = panels > 0

        def split(each):
            if not each:
                first, last = ranges[0], ranges[-1]
                return [(first[0], first[1], last[1] + last[2] - first[1])]
            return ranges if len(ranges) == tiles else ranges + [(SCRATCHPAD, 0, 0)] * (tiles - 1)

        if random.random() < 0.7:
            each = int(each_tile and random.random() < 0.5)
            fields["src_wait"] = token = int(random.choice(_SOURCE_WAITS))
            fields |= {"src_wait_each": each} if each_tile else {}
            events[0].extend((token, *part) for part in split(each))
        if random.random() < 0.7:
            each = int(each_tile and random.random() < 0.5)
            fields["src_signal"] = token = int(random.choice(_SOURCE_SIGNALS))
            fields |= {"src_signal_each": each} if each_tile else {}
            parts = split(each) if len(ranges) > 1 else split(each)[::-1]      # all of it with the last token
            self.hides += [(token, memory, start, 0 if keep else count) for memory, start, count in parts]
        if panels and random.random() < 0.7:
            each = int(dst_wait_each and random.random() < 0.5)
            fields["dst_wait"] = token = int(random.choice(_DESTINATION_WAITS))
            fields |= {"dst_wait_each": each} if dst_wait_each else {}
            events[1].extend([(token, SCRATCHPAD, 0, 0)] * (panels if each else 1))
        if panels and random.random() < 0.7:
            fields |= dict(dst_signal=int(random.choice(DESTINATION_SIGNALS)),
                           dst_signal_each=int(random.integers(0, 2)))
        # Both kinds in their own order, between each other in any.
        turns = random.permutation([0] * len(events[0]) + [1] * len(events[1]))
        queues = [iter(part) for part in events]
        self.reveals += [next(queues[turn]) for turn in turns]

    # What has to come out.

    def start(self):
        """``(scratchpad, accumulators)`` copies with noise in the words that are not revealed yet."""
        memories = self.scratchpad.copy(), self.accumulators.copy()
        for _, memory, start, count in self.reveals:
            part = memories[memory].view(np.uint8)[start:start + count]
            part[...] = self.random.integers(0, 256, part.shape, np.uint8)
        return memories

    def tokens(self):
        """int64[32]: tokens that are left of those revealed and signalled once all waits are served."""
        left = np.zeros(isa.SEMAPHORES, np.int64)
        for token, *_ in self.reveals:
            left[token] += 1
        for mnemonic, f in self.instructions:
            if mnemonic == "VECTOR_SYNC":
                left[f["wait"]] -= f["wait_count"]
                left[f["signal"]] += f["signal_count"]
            else:
                tiles = f.get("tiles", 1)
                panels = tiles // self.config.tiles_per_panel
                for name, parts in (("src", tiles), ("dst", panels)):
                    left[f.get(f"{name}_wait", 0)] -= parts if f.get(f"{name}_wait_each") else 1
                    left[f.get(f"{name}_signal", 0)] += parts if f.get(f"{name}_signal_each") else 1
        left[0] = 0
        return left

    def check(self, scratchpad, distances, tokens, accumulators=None):
        """Asserts that the engine left this: uint8[words, word_bytes], rescale distances of all rows of state, tokens.

        ``accumulators``: what the model computes with, by default the program's.
        """
        accumulators = self.accumulators if accumulators is None else accumulators
        model = VectorModel(self.config, self.scratchpad.copy(), accumulators)
        for mnemonic, fields in self.instructions:
            model.execute(mnemonic, fields)
        same = np.ones(len(scratchpad), bool)
        for _, memory, start, length in self.hides:
            if memory == SCRATCHPAD:
                same[start:start + length] = False
        wrong = np.argwhere((scratchpad != model.scratchpad) & same[:, None])
        assert wrong.size == 0, (
            f"word {wrong[0][0]} byte {wrong[0][1]} is {scratchpad[tuple(wrong[0])]}, not "
            f"{model.scratchpad[tuple(wrong[0])]} ({len(wrong)} bytes differ); {self.instructions}")
        used = np.zeros(self.config.state_rows, bool)
        for mnemonic, fields in self.instructions:
            if mnemonic == "SOFTMAX":
                used[fields.get("state_base", 0):][:fields["rows"]] = True
        assert (distances[used] == model.distance[used]).all(), "rescale distances differ"
        expected = self.tokens()
        assert np.array_equal(tokens, expected), f"tokens {tokens.tolist()}, not {expected.tolist()}"
