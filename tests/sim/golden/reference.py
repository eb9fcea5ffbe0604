"""A second, slow implementation of the machine: loops as hw/README.md writes them, integers of Python, threads that take
turns at random. It checks nothing about the program; a race would show as results that depend on the turns."""

import random
from types import SimpleNamespace

from weft.hw import isa


def sign(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def clamp(value, low, high):
    return min(max(value, low), high)


def shift_round(x, n):
    return (x + (1 << (n - 1))) >> n if n else x


RANGE = {0: (-128, 127), 1: (0, 255), 2: (-32768, 32767)}


class Reference:
    def __init__(self, image, inputs, seed=0):
        self.c = image.config
        self.image = image
        self.random = random.Random(seed)
        self.memory = bytearray(image.memory_bytes)
        self.memory[:image.constant.size] = bytes(image.constant)
        for buffer in image.buffers:
            if buffer.kind == "input":
                self.memory[buffer.offset:buffer.offset + buffer.bytes] = bytes(inputs[buffer.name])
        self.spm = bytearray(self.c.scratchpad_words * self.c.word_bytes)
        self.acc = [[0] * self.c.cols for _ in range(self.c.accumulator_words)]
        self.rows = [SimpleNamespace(m=None, l=0, d=0, mr=0, s=1) for _ in range(self.c.state_rows)]
        self.tokens = [0] * 32
        self.tables = [None, None]
        self.indices = {}
        self.log = []
        self.queues = {e: [] for e in (1, 2, 3, 4)}
        self.loader_queue = []
        self.unfinished = 0
        self.loaded = self.streamed = 0
        self.tiles = []
        self.syncs = 0

    def run(self):
        threads = [self.dispatch(), self.load(), self.weights(), self.stream(), self.vector(), self.store()]
        dispatcher = threads[0]
        idle = 0
        while idle < 20000:
            thread = self.random.choice(threads)
            for _ in range(self.random.choice((1, 3, 200))):
                idle += 1
                try:
                    if next(thread):
                        idle = 0
                except StopIteration:
                    assert thread is dispatcher
                    return
        raise AssertionError("the reference came to rest")

    def dispatch(self):
        code, pc, r = bytes(self.image.code), 0, [0] * 16
        for n, v in self.image.registers.items():
            r[n] = v
        while True:
            instruction, values = isa.decode(code[32 * pc:32 * pc + 32])
            f, name = SimpleNamespace(**values), instruction.mnemonic
            here, pc = pc, pc + 1
            if name in ("END", "BARRIER"):
                while self.unfinished:
                    yield 0
                if name == "END":
                    return
            elif name == "CALC":
                if f.rd:
                    r[f.rd] = sign((r[f.ra] << f.left) + r[f.rb] + f.imm, 32) >> f.right
            elif name == "BRANCH":
                a, b = r[f.ra], r[f.rb]
                if {0: a == b, 1: a != b, 2: a < b, 3: a >= b}[f.cond]:
                    pc += f.offset
            else:
                for field, register in (("dram_addr", "dram_reg"), ("key_start", "key_reg"), ("query_start", "query_reg")):
                    if hasattr(f, register):
                        setattr(f, field, getattr(f, field) + r[getattr(f, register)])
                for field, register in (("w_limit", "w_limit_reg"), ("key_limit", "limit_reg")):
                    if hasattr(f, register):
                        setattr(f, field, clamp(getattr(f, field) + r[getattr(f, register)], 0, 65535))
                f.name, f.pc = name, here
                engine = instruction.opcode >> 4
                self.queues[engine].append(f)
                if engine == 2:
                    self.loader_queue.append(f)
                self.unfinished += 1
            yield 1

    def wait(self, number, count=1):
        for _ in range(count if number else 0):
            while not self.tokens[number]:
                yield 0
            self.tokens[number] -= 1

    def signal(self, number, count=1):
        if number:
            self.tokens[number] += count

    def take(self, queue):
        while not queue:
            yield 0
        return queue.pop(0)

    # Words.

    def word(self, address):
        w = self.c.word_bytes
        return self.spm[address * w:(address + 1) * w]

    def element(self, kind, base, row_stride, panel_stride, row, channel):
        """One element of a scratchpad operand."""
        panel, i = divmod(channel, self.c.panel)
        address = (base + panel * panel_stride + row * row_stride) * self.c.word_bytes
        if kind == 2:
            return int.from_bytes(self.spm[address + 2 * i:address + 2 * i + 2], "little", signed=True)
        return sign(self.spm[address + i], 8) if kind == 0 else self.spm[address + i]

    def put(self, kind, base, row_stride, panel_stride, row, channel, value):
        panel, i = divmod(channel, self.c.panel)
        address = (base + panel * panel_stride + row * row_stride) * self.c.word_bytes
        if kind == 2:
            self.spm[address + 2 * i:address + 2 * i + 2] = (value & 0xFFFF).to_bytes(2, "little")
        else:
            self.spm[address + i] = value & 0xFF

    def record(self, param_base, channel, dst_type):
        c = self.c
        group, lane = divmod(channel, c.vector_lanes)
        at = (param_base + group * c.param_group_words) * c.word_bytes + 8 * lane
        bits = int.from_bytes(self.spm[at:at + 8], "little")
        zero = bits >> 56 & 255
        return sign(bits, 32), sign(bits >> 32, 18), bits >> 50 & 63, zero if dst_type == 1 else sign(zero, 8)

    # Load and store.

    def load(self):
        while True:
            f = yield from self.take(self.queues[1])
            if f.name == "LOAD_SYNC":
                yield from self.wait(f.wait, f.wait_count)
                self.signal(f.signal, f.signal_count)
            elif f.name == "LOAD":
                yield from self.copy(f)
            elif f.name == "INDEX":
                yield from self.wait(f.wait)
                for n in range(f.count):
                    self.indices[n] = int.from_bytes(self.memory[f.dram_addr + 4 * n:f.dram_addr + 4 * n + 4], "little",
                                                     signed=True)
            else:
                yield from self.wait(f.wait)
                for n in range(f.count):
                    row = f.dram_addr + self.indices[f.first + n] * f.dram_stride
                    size, at = f.run_words * self.c.word_bytes, (f.spm_addr + n * f.spm_stride) * self.c.word_bytes
                    self.spm[at:at + size] = self.memory[row:row + size]
                    yield 1
                self.signal(f.signal)
            self.unfinished -= 1

    def store(self):
        while True:
            f = yield from self.take(self.queues[4])
            if f.name == "STORE_SYNC":
                yield from self.wait(f.wait, f.wait_count)
                self.signal(f.signal, f.signal_count)
            else:
                yield from self.copy(f)
            self.unfinished -= 1

    def copy(self, f):
        size = f.run_words * self.c.word_bytes
        for o in range(f.outer_count):
            if o == 0 or f.wait_each:
                yield from self.wait(f.wait)
            slot = (f.ring_start + o) % f.ring_slots if f.ring_slots else o
            for i in range(f.inner_count):
                m = f.dram_addr + o * f.outer_dram_stride + i * f.inner_dram_stride
                s = (f.spm_addr + slot * f.outer_spm_stride + i * f.inner_spm_stride) * self.c.word_bytes
                if f.name == "LOAD":
                    self.spm[s:s + size] = self.memory[m:m + size]
                else:
                    self.memory[m:m + size] = self.spm[s:s + size]
                    self.log.append((f.pc, m, bytes(self.spm[s:s + size])))
                yield 1
            if o == f.outer_count - 1 or f.signal_each:
                self.signal(f.signal)

    # Tensor.

    def tile_order(self, f):
        if f.k_outer:
            return [(n, k) for k in range(f.k_tiles) for n in range(f.n_tiles)]
        return [(n, k) for n in range(f.n_tiles) for k in range(f.k_tiles)]

    def k_tile(self, k):
        """Panel, first element within it, elements."""
        c = self.c
        panel, part = divmod(k, c.k_tiles_per_panel)
        return panel, part * c.rows, min(c.rows, c.panel - part * c.rows)

    def sparse_panels(self, f, k):
        """Panels that sparse K tile k has; 0: its weights are not sparse."""
        covered = {2: 2, 3: 4}.get(getattr(f, "w_format", 0), 0)
        return covered - (f.k_missing if covered and k == f.k_tiles - 1 else 0)

    def weights(self):
        c = self.c
        syncs = 0
        while True:
            f = yield from self.take(self.loader_queue)
            if f.name == "TENSOR_SYNC":
                syncs += 1
                while self.syncs < syncs:
                    yield 0
                continue
            order = self.tile_order(f)
            for t, (n, k) in enumerate(order):
                while self.loaded > self.streamed + 1:
                    yield 0
                panel, off, size = self.k_tile(k)
                tile = [[0] * c.cols for _ in range(size)]
                if f.name == "MATMUL":
                    chunk = t // f.chunk_tiles
                    if t % f.chunk_tiles == 0:
                        yield from self.wait(f.w_wait)
                    slot = (f.ring_start + chunk) % f.ring_slots if f.ring_slots else chunk
                    words = {0: c.weight_tile_words, 1: c.four_bit_tile_words}.get(f.w_format, c.sparse_tile_words)
                    at = (f.w_base + (slot * f.chunk_tiles + t % f.chunk_tiles) * words) * c.word_bytes
                    for r in range(size):
                        half = (c.rows + 1) // 2
                        place = 2 * (half - 1 - r) if r < half else 2 * (c.rows - 1 - r) + 1
                        if f.w_format > 1:
                            tile[r] = self.sparse_row(at, place)
                            continue
                        if f.w_format:
                            tile[r] = self.four_bit_row(f, at, place, n, k)
                            continue
                        word, part = divmod(place, c.weight_rows_per_word)
                        start = at + word * c.word_bytes + part * c.weight_slot_bytes
                        for j in range(c.cols):
                            tile[r][j] = sign(self.spm[start + j], 8)
                else:
                    if t == 0:
                        yield from self.wait(f.w_wait)
                    for r in range(size):
                        for j in range(c.cols):
                            if f.name == "MATMUL_C":
                                tile[r][j] = self.circulant(f, n, k // c.k_tiles_per_panel, off, r, j)
                                continue
                            if f.name == "MATMUL_KT":
                                key, feature = n * c.cols + j, k // c.k_tiles_per_panel
                                byte = off + r
                            else:
                                key, feature = panel * c.panel + off + r, n // c.tiles_per_panel
                                byte = n % c.tiles_per_panel * c.cols + j
                            if key < f.w_limit:
                                tile[r][j] = sign(self.word(f.w_base + feature * f.w_panel_stride + key)[byte], 8)
                self.tiles.append(tile)
                self.loaded += 1
                if t == len(order) - 1 or f.name == "MATMUL" and (t + 1) % f.chunk_tiles == 0:
                    self.signal(f.w_signal)
                yield 1

    def circulant(self, f, n, panel, off, r, j):
        """Element (r, j) of tile n of a MATMUL_C whose features begin at byte ``off`` of the panel."""
        row = n if f.w_single else n * (self.c.cols // f.block) + j // f.block
        if f.w_single and j // f.block != f.w_column:
            return 0
        byte = self.word(f.w_base + panel * f.w_panel_stride + row)[off + r - r % f.block + (j - r) % f.block]
        return byte - 128 if f.w_unsigned else sign(byte, 8)

    def sparse_row(self, at, place):
        """Row number ``place`` of the sparse tile at byte ``at``: a pair of value and index for each column."""
        c = self.c
        line_slots, slot = 2 * c.weight_rows_per_word, c.weight_slot_bytes
        # A line of indices, four of values, and so on.
        line = place // line_slots
        values = at + (line + line // 4 + 1) * c.line_bytes + place % line_slots * slot
        indices = at + line // 4 * 5 * c.line_bytes + place % (4 * line_slots) * slot // 4
        return [(sign(self.spm[values + j], 8), self.spm[indices + j // 4] >> j % 4 * 2 & 3) for j in range(c.cols)]

    def four_bit_row(self, f, at, place, n, k):
        """Row number ``place`` of the 4-bit tile at byte ``at``."""
        c = self.c
        row_bytes = c.weight_slot_bytes // 2

        def nibble(start, number, j):
            return self.spm[start + number * row_bytes + j // 2] >> 4 * (j % 2) & 15

        # Each N tile's rows of scales begin with a word.
        rows = -(-f.k_tiles // f.w_group) if f.w_group else 2 * f.k_tiles
        words = -(-rows // (2 * c.weight_rows_per_word))
        number = k // f.w_group if f.w_group else 2 * k + place % 2
        scales = (f.s_base + n * words) * c.word_bytes
        return [sign(nibble(at, place, j), 4) * nibble(scales, number, j) for j in range(c.cols)]

    def stream(self):
        c = self.c
        while True:
            f = yield from self.take(self.queues[2])
            if f.name == "TENSOR_SYNC":
                yield from self.wait(f.wait, f.wait_count)
                self.signal(f.signal, f.signal_count)
                self.syncs += 1
                self.unfinished -= 1
                continue
            order = self.tile_order(f)
            for t, (n, k) in enumerate(order):
                panel, off, size = self.k_tile(k)
                panels = self.sparse_panels(f, k)
                if n == 0 and (k == 0 or f.a_wait_each and off == 0):
                    yield from self.wait(f.a_wait, max(1, panels) if f.a_wait_each else 1)
                if k == 0 and (n == 0 or f.acc_wait_each):
                    yield from self.wait(f.acc_wait)
                while not self.tiles:
                    yield 0
                tile = self.tiles.pop(0)
                self.streamed += 1
                for m in range(f.rows):
                    if panels:
                        covered = 2 if f.w_format == 2 else 4
                        word = [x for p in range(panels)
                                for x in self.word(f.a_base + (k * covered + p) * f.a_panel_stride + m)[:c.panel]]
                        word += [0] * (covered * c.panel - len(word))
                    else:
                        word = self.word(f.a_base + panel * f.a_panel_stride + m)[off:off + size]
                    a = [x if f.a_unsigned else sign(x, 8) for x in word]
                    result = self.acc[f.acc_base + n * f.acc_stride + m]
                    for j in range(c.cols):
                        before = 0
                        if k or f.accumulate:
                            before = result[j]
                        if k == 0 and f.rescale:
                            d = self.rows[f.state_base + m].d
                            before = shift_round(before, d) if d <= 31 else 0
                        if panels:
                            chosen = [a[4 * (i // 2 if covered == 2 else i) + tile[i][j][1]] for i in range(c.rows)]
                            result[j] = before + sum(x * tile[i][j][0] for i, x in enumerate(chosen))
                        else:
                            result[j] = before + sum(x * tile[i][j] for i, x in enumerate(a))
                        assert -2 ** 31 <= result[j] < 2 ** 31
                    if m % 8 == 0:
                        yield 1
                if k == f.k_tiles - 1 and (n == f.n_tiles - 1 or f.acc_signal_each):
                    self.signal(f.acc_signal)
            self.signal(f.a_signal)
            self.unfinished -= 1

    # Vector.

    def vector(self):
        while True:
            f = yield from self.take(self.queues[3])
            if f.name == "VECTOR_SYNC":
                yield from self.wait(f.wait, f.wait_count)
                self.signal(f.signal, f.signal_count)
            else:
                yield from getattr(self, f.name.lower())(f)
            self.unfinished -= 1

    def tile_loop(self, f, compute):
        c = self.c
        for tile in range(f.tiles):
            first = tile % c.tiles_per_panel == 0
            last = (tile + 1) % c.tiles_per_panel == 0
            if tile == 0 or f.src_wait_each:
                yield from self.wait(f.src_wait)
            if tile == 0 or first and f.dst_wait_each:
                yield from self.wait(f.dst_wait)
            # Group by group: a destination in the source's place replaces only what has been read.
            for group in range(c.groups_per_tile):
                for row in range(f.rows):
                    lanes = range(tile * c.cols + group * c.vector_lanes, tile * c.cols + (group + 1) * c.vector_lanes)
                    values = [compute(row, channel, tile) for channel in lanes]
                    for channel, value in zip(lanes, values):
                        self.put(f.dst_type, f.dst_base, f.dst_row_stride, f.dst_panel_stride, row, channel, value)
                yield 1
            if tile == f.tiles - 1 or f.src_signal_each:
                self.signal(f.src_signal)
            if tile == f.tiles - 1 or last and f.dst_signal_each:
                self.signal(f.dst_signal)

    def requant(self, f):
        c = self.c

        def compute(row, channel, tile):
            if f.src_type == 3:
                x = self.acc[f.src_base + tile * f.src_panel_stride + row * f.src_row_stride][channel % c.cols]
            else:
                x = self.element(f.src_type, f.src_base, f.src_row_stride, f.src_panel_stride, row, channel)
            if f.residual or f.multiply:
                res = self.element(f.res_type, f.res_base, f.res_row_stride, f.res_panel_stride, row, channel)
            if f.multiply:
                x *= res
            number = channel % c.cols if f.param_hold else channel
            bias, mult, shift, zero = self.record(f.param_base, number, f.dst_type)
            if f.row_scale:
                state = self.rows[f.state_base + row]
                mult, shift = state.mr, state.s
            y = shift_round((x + bias) * mult, shift) + zero
            if f.residual:
                y += res
            if f.table:
                return self.tables[f.slot][clamp(y, -128, 127) & 255]
            return clamp(y, *RANGE[f.dst_type])

        yield from self.tile_loop(f, compute)

    def stats(self, f):
        yield from self.wait(f.src_wait)
        for row in range(f.rows):
            x = [self.element(2, f.src_base, f.src_row_stride, f.src_panel_stride, row, i) for i in range(f.features)]
            s1 = 0 if f.rms else sum(x)
            v = f.features * sum(i * i for i in x) - s1 * s1 + f.eps
            state = self.rows[f.state_base + row]
            state.s1 = s1
            if v == 0:
                state.y1, state.sh = 0, 4
                continue
            k = (v.bit_length() - 1) // 2
            scaled = v << (30 - 2 * k) if k <= 15 else v >> (2 * k - 30)
            j = scaled >> 24
            y0 = min(65535, int(2.0 ** 31 / ((j + 0.5) * 2.0 ** 24) ** 0.5 + 0.5))
            p = (scaled * (y0 * y0 >> 14)) >> 32
            state.y1, state.sh = min(65535, (y0 * (196608 - p)) >> 17), k + 4
            yield 1
        self.signal(f.src_signal)

    def norm(self, f):
        def compute(row, channel, tile):
            x = self.element(2, f.src_base, f.src_row_stride, f.src_panel_stride, row, channel)
            bias, mult, shift, zero = self.record(f.param_base, channel, f.dst_type)
            state = self.rows[f.state_base + row]
            xhat = clamp(shift_round((f.features * x - state.s1) * state.y1, state.sh), -(1 << 19), (1 << 19) - 1)
            return clamp(shift_round(xhat * mult + bias, shift) + zero, *RANGE[f.dst_type])

        yield from self.tile_loop(f, compute)

    def softmax(self, f):
        c = self.c
        yield from self.wait(f.src_wait, f.tiles if f.src_wait_each else 1)
        yield from self.wait(f.dst_wait)
        for row in range(f.rows):
            state = self.rows[f.state_base + row]
            if f.first:
                state.m, state.l = None, 0
            z = {}
            for i in range(f.tiles * c.cols):
                tile, j = divmod(i, c.cols)
                key = f.key_start + i
                visible = key < f.key_limit and (not f.causal or key <= f.query_start + row)
                if f.mask:
                    slot = tile + f.key_start // c.cols % c.mask_tiles_per_word
                    bit = slot * c.mask_slot_bits + j
                    word, bit = divmod(bit, 8 * c.word_bytes)
                    data = int.from_bytes(self.word(f.mask_base + row * f.mask_row_stride + word), "little")
                    visible = visible and data >> bit & 1
                if visible:
                    bias, mult, shift, _ = self.record(f.param_base, j % c.vector_lanes, 0)
                    score = self.acc[f.acc_base + tile * f.acc_stride + row][j]
                    z[i] = clamp(shift_round((score + bias) * mult, shift), -32768, 32767)
            m = max([(v + 31) >> 5 for v in z.values()] + ([] if state.m is None else [state.m]), default=None)
            state.d = 0 if state.m is None or not z else min(m - state.m, 32)
            total = 0
            for i in range(f.tiles * c.cols):
                e = 0
                if i in z:
                    t = 32 * m - z[i]
                    if t >> 5 <= 31:
                        e = shift_round(int(2 ** 15 * 2 ** (-(t & 31) / 32) + 0.5), t >> 5)
                total += e
                panel, byte = divmod(i, c.panel)
                self.spm[(f.dst_base + panel * f.dst_panel_stride + row) * c.word_bytes + byte] = min(255, (e + 64) >> 7)
            state.l = (shift_round(state.l, state.d) if state.d <= 31 else 0) + total
            state.m = m
            if f.last:
                _, mult, shift, _ = self.record(f.param_base + c.param_tile_words, 0, 0)
                state.mr, state.s = 0, 1
                if state.l:
                    b = state.l.bit_length() - 1
                    big = state.l << (31 - b)
                    state.mr, state.s = (((1 << 47) + (big >> 1)) // big * mult + (1 << 15)) >> 16, shift + b
            yield 1
        self.signal(f.src_signal, f.tiles if f.src_signal_each else 1)
        self.signal(f.dst_signal, f.tiles // c.tiles_per_panel if f.dst_signal_each else 1)

    def table(self, f):
        yield from self.wait(f.src_wait)
        at = f.src_base * self.c.word_bytes
        self.tables[f.slot] = bytes(self.spm[at:at + 256])
        self.signal(f.src_signal)
