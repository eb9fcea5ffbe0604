"""Matrix products."""

from .arithmetic import shift_round, sign


class TensorThreads:
    """Weight loader and row streamer of a `Machine`."""

    def tile_order(self, f):
        if f.k_outer:
            return [(n, k) for k in range(f.k_tiles) for n in range(f.n_tiles)]
        return [(n, k) for n in range(f.n_tiles) for k in range(f.k_tiles)]

    def k_tile(self, f, k):
        """Panel, first element within it, elements."""
        c = self.c
        panel, part = divmod(f.k_offset + k, c.k_tiles_per_panel)
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
                panel, off, size = self.k_tile(f, k)
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
                                tile[r][j] = self.circulant(f, n, panel, off, r, j)
                                continue
                            if f.name == "MATMUL_KT":
                                key, feature = n * c.cols + j, panel
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
                panel, off, size = self.k_tile(f, k)
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
