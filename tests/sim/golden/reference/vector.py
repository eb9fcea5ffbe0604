"""Everything between matrix products."""

from .arithmetic import RANGE, clamp, shift_round


class VectorThread:
    """Thread of the vector engine of a `Machine`."""

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
            if shift == 0 and not f.row_scale and c.rows > c.cols:
                x = 0
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
