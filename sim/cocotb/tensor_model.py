"""What the tensor instructions compute, written down from the formulas of ``hw/README.md``, and random ones."""

import numpy as np

from weft.hw import isa
from weft.sim.numerics import rescaled

__all__ = ["TensorModel", "random_product"]


def _wrap32(values):
    return (np.asarray(values, np.int64) + (1 << 31)) % (1 << 32) - (1 << 31)


class TensorModel:
    """Executes products on ``scratchpad`` (uint8[words, word_bytes]), ``distances`` (int64[state_rows]) and
    ``accumulators`` (int64[accumulator_words, cols])."""

    def __init__(self, config, scratchpad, distances):
        self.config = config
        self.scratchpad = scratchpad
        self.distances = distances
        self.accumulators = np.zeros((config.accumulator_words, config.cols), np.int64)

    def features(self, k):
        """(panel, first byte within the panel, count) of K tile `k`, counted from the first one of panel 0."""
        first = k % self.config.k_tiles_per_panel * self.config.rows
        return k // self.config.k_tiles_per_panel, first, min(self.config.rows, self.config.panel - first)

    def order(self, f):
        """(n, k) of each tile in loop order."""
        if f["k_outer"]:
            return [(n, k) for k in range(f["k_tiles"]) for n in range(f["n_tiles"])]
        return [(n, k) for n in range(f["n_tiles"]) for k in range(f["k_tiles"])]

    def panels(self, f, k):
        """Panels of sparse K tile `k`; 0 if the weights are not sparse."""
        covered = isa.SPARSE_PANELS.get(f.get("w_format", 0), 0)
        return covered - (f["k_missing"] if covered and k == f["k_tiles"] - 1 else 0)

    def tile(self, mnemonic, f, position, n, k):
        """int64[features, cols]: the stationary tile."""
        config, memory = self.config, self.scratchpad.view(np.int8).astype(np.int64)
        rows, cols = config.rows, config.cols
        tile = np.zeros((rows, cols), np.int64)
        panel, first, count = self.features(f["k_offset"] + k)
        if mnemonic == "MATMUL":
            chunk, within = divmod(position, f["chunk_tiles"])
            slot = (f["ring_start"] + chunk) % f["ring_slots"] if f["ring_slots"] else chunk
            if f["w_format"] in isa.SPARSE_PANELS:
                return self.sparse_tile(f, f["w_base"] + (slot * f["chunk_tiles"] + within) * config.sparse_tile_words)
            if f["w_format"]:
                base = f["w_base"] + (slot * f["chunk_tiles"] + within) * config.four_bit_tile_words
                return self.four_bit_tile(f, base, n, k)
            base = f["w_base"] + (slot * f["chunk_tiles"] + within) * config.weight_tile_words
            for r in range(rows):
                word, place = divmod(config.weight_row_order.index(r), config.weight_rows_per_word)
                tile[r] = memory[base + word, place * config.weight_slot_bytes:][:cols]
        elif mnemonic == "MATMUL_KT":
            for c in range(cols):
                key = n * cols + c
                if key < f["w_limit"]:
                    tile[:count, c] = memory[f["w_base"] + panel * f["w_panel_stride"] + key, first:first + count]
        elif mnemonic == "MATMUL_C":
            self.circulant_tile(f, tile, n, f["w_base"] + panel * f["w_panel_stride"], first, count)
        else:
            n_panel, n_sub = divmod(n, config.tiles_per_panel)
            for r in range(count):
                key = panel * config.panel + first + r
                if key < f["w_limit"]:
                    tile[r] = memory[f["w_base"] + n_panel * f["w_panel_stride"] + key, n_sub * cols:][:cols]
        return tile

    def four_bit_tile(self, f, base, n, k):
        """The tile of 4-bit weights at word ``base``."""
        config, half = self.config, self.config.weight_slot_bytes // 2
        per_word = config.scale_rows_per_word
        group = f["w_group"]
        scale_words = 1 + ((f["k_tiles"] - 1) // group if group else 2 * f["k_tiles"] - 1) // per_word

        def row(word, number):
            at = self.scratchpad[word + number // per_word, number % per_word * half:][:half].astype(np.int64)
            return np.stack([at & 15, at >> 4], axis=-1).reshape(-1)[:config.cols]

        tile = np.zeros((config.rows, config.cols), np.int64)
        for r in range(config.rows):
            values = row(base, config.weight_row_order.index(r))
            lower = r >= config.weight_steps
            scales = row(f["s_base"] + n * scale_words, k // group if group else 2 * k + lower)
            tile[r] = np.where(values > 7, values - 16, values) * scales
        return tile

    def circulant_tile(self, f, tile, n, base, first, count):
        """Fills a tile of circulant blocks; ``base``: row 0 of its panel, of which bytes ``first`` to ``first + count - 1``."""
        memory = self.scratchpad if f["w_unsigned"] else self.scratchpad.view(np.int8)
        b, columns = f["block"], self.config.cols // f["block"]
        for c in range(self.config.cols):
            if f["w_single"]:
                if c // b != f["w_column"]:
                    continue
                word = base + n
            else:
                word = base + n * columns + c // b
            for r in range(count):
                tile[r, c] = int(memory[word, first + r // b * b + (c - r) % b]) - 128 * f["w_unsigned"]

    def sparse_tile(self, f, base):
        """The tile of sparse weights at word ``base``, each value at its place in its block of four features."""
        config, slot = self.config, self.config.weight_slot_bytes
        panels = isa.SPARSE_PANELS[f["w_format"]]
        lines = self.scratchpad[base:base + config.sparse_tile_words].reshape(-1, config.line_bytes)
        is_index = np.arange(len(lines)) % 5 == 0
        values, indices = lines[~is_index].reshape(-1), lines[is_index].reshape(-1)
        tile = np.zeros((panels * config.rows, config.cols), np.int64)
        for r in range(config.rows):
            place = config.weight_row_order.index(r)
            for c in range(config.cols):
                index = indices[place * slot // 4 + c // 4] >> c % 4 * 2 & 3
                block = r // 2 if panels == 2 else r
                tile[4 * block + index, c] += values.view(np.int8)[place * slot + c]
        return tile

    def execute(self, mnemonic, **f):
        moving = self.scratchpad if f["a_unsigned"] else self.scratchpad.view(np.int8)
        for position, (n, k) in enumerate(self.order(f)):
            if panels := self.panels(f, k):
                a = np.zeros((f["rows"], isa.SPARSE_PANELS[f["w_format"]], self.config.panel), np.int64)
                for number in range(panels):
                    start = f["a_base"] + (k * a.shape[1] + number) * f["a_panel_stride"]
                    a[:, number] = moving[start:start + f["rows"], :self.config.panel]
                a = a.reshape(f["rows"], -1)
            else:
                panel, first, count = self.features(f["k_offset"] + k)
                start = f["a_base"] + panel * f["a_panel_stride"]
                a = np.zeros((f["rows"], self.config.rows), np.int64)
                a[:, :count] = moving[start:start + f["rows"], first:first + count]
            words = slice(f["acc_base"] + n * f["acc_stride"], f["acc_base"] + n * f["acc_stride"] + f["rows"])
            before = self.accumulators[words]
            if k == 0 and not f["accumulate"]:
                before = 0
            elif k == 0 and f["rescale"]:
                before = rescaled(before, self.distances[f["state_base"]:f["state_base"] + f["rows"], None])
            self.accumulators[words] = _wrap32(before + a @ self.tile(mnemonic, f, position, n, k))


def random_product(config, random, mnemonic=None, words=None):
    """(mnemonic, fields) of a random product without tokens, in the first `words` words of the scratchpad."""
    while True:
        try:
            return _draw(config, random, mnemonic or random.choice(_PRODUCTS + ["MATMUL_C"] * 2 * bool(config.circulant)),
                         words or config.scratchpad_words)
        except _TooLarge:
            pass


_PRODUCTS = ["MATMUL", "MATMUL", "MATMUL_KT", "MATMUL_V"]


class _TooLarge(Exception):
    """The product drawn does not fit the memories."""


def _draw(config, random, mnemonic, words):
    f = {name: 0 for name in isa.INSTRUCTIONS[mnemonic].fields}
    rows = random.choice((1, 1, 2, 3, config.rows, random.randint(1, 2 * config.rows + 2)))
    k_tiles = random.randint(1, 2 * config.k_tiles_per_panel + 1)
    n_tiles = random.randint(1, min(6, 2 * config.tiles_per_panel + 1))

    def place(extent, size=words):
        if extent >= size:
            raise _TooLarge
        return random.randrange(size - extent)

    k_offset = random.choice((0, random.randrange(config.k_tiles_per_panel)))
    panels = -(-(k_offset + k_tiles) // config.k_tiles_per_panel)
    if mnemonic == "MATMUL" and config.sparsity and random.random() < 0.6:
        f["w_format"] = random.choice([number for number in config.weight_formats if number in isa.SPARSE_PANELS])
        covered = isa.SPARSE_PANELS[f["w_format"]]
        f["k_missing"] = random.choice((0, random.randrange(covered)))
        panels = covered * k_tiles - f["k_missing"]
    stride = random.choice((rows, rows + random.randint(0, 9)))
    f.update(rows=rows, k_tiles=k_tiles, n_tiles=n_tiles, k_offset=k_offset, k_outer=random.getrandbits(1),
             a_base=place(panels * stride + rows), a_panel_stride=stride, a_unsigned=random.getrandbits(1))
    # Mostly one word after the other, sometimes overlapping.
    f["acc_stride"] = random.choice((rows, rows, rows + 3, random.randint(0, rows)))
    f["acc_base"] = place(n_tiles * f["acc_stride"] + rows, config.accumulator_words)
    f["accumulate"] = random.getrandbits(1)
    if f["accumulate"] and rows <= config.state_rows and random.getrandbits(1):
        f.update(rescale=1, state_base=random.randrange(config.state_rows - rows + 1))
    if mnemonic == "MATMUL":
        tiles = k_tiles * n_tiles
        f["chunk_tiles"] = random.randint(1, tiles)
        f["ring_slots"] = random.choice((0, random.randint(1, 4)))
        f["ring_start"] = random.randrange(f["ring_slots"]) if f["ring_slots"] else 0
        slots = f["ring_slots"] or -(-tiles // f["chunk_tiles"])
        if f["w_format"]:
            f["w_base"] = place(slots * f["chunk_tiles"] * config.sparse_tile_words) // 2 * 2
            return mnemonic, f
        f["w_base"] = place(slots * f["chunk_tiles"] * config.weight_tile_words)
        if config.four_bit and random.random() < 0.6:
            f.update(w_format=1, w_group=random.choice((0, 1, 1, 2, 3, 63)), k_outer=0, s_base=place(n_tiles * 2 * k_tiles))
    elif mnemonic == "MATMUL_C":
        f["block"] = random.choice(config.circulant)
        columns = config.cols // f["block"]
        f.update(w_single=random.getrandbits(1), w_column=random.choice((0, columns - 1, columns, 15)),
                 w_unsigned=random.getrandbits(1))
        keys = n_tiles * (1 if f["w_single"] else columns)
        f["w_panel_stride"] = keys + random.randint(0, 9)
        f["w_base"] = place(panels * f["w_panel_stride"] + keys)
    else:
        keys = n_tiles * config.cols if mnemonic == "MATMUL_KT" else panels * config.panel
        columns = panels if mnemonic == "MATMUL_KT" else -(-n_tiles // config.tiles_per_panel)
        f["w_panel_stride"] = keys + random.randint(0, 9)
        f["w_base"] = place(columns * f["w_panel_stride"] + keys)
        f["w_limit"] = random.choice((keys, random.randint(0, keys), 65535))
    return mnemonic, f
