"""What the vector instructions compute, one after the other, on the formulas of `weft.sim.numerics`."""

from types import SimpleNamespace

import numpy as np

from weft.hw import isa
from weft.sim import numerics

__all__ = ["VectorModel", "records_bytes"]

KINDS = {isa.Element.INT8: "int8", isa.Element.UINT8: "uint8", isa.Element.INT16: "int16"}


def records_bytes(bias, mult, shift, zero):
    """Parameter records as bytes, one channel after the other."""
    words = (np.asarray(bias, np.int64) & 0xFFFFFFFF | (np.asarray(mult, np.int64) & 0x3FFFF) << 32
             | np.asarray(shift, np.int64) << 50 | (np.asarray(zero, np.int64) & 0xFF) << 56)
    return words.astype("<i8").view(np.uint8)


class VectorModel:
    """Memories and row state: ``scratchpad`` uint8[words, word_bytes], ``accumulators`` int32[words, cols]."""

    def __init__(self, config, scratchpad, accumulators):
        self.config, self.scratchpad, self.accumulators = config, scratchpad, accumulators
        rows = config.state_rows
        self.softmax = numerics.SoftmaxState(rows)
        self.distance = np.zeros(rows, np.int64)
        self.division = np.zeros((2, rows), np.int64)
        self.norm = np.zeros((3, rows), np.int64)
        self.tables = np.zeros((2, 256), np.uint8)

    def execute(self, mnemonic, fields):
        f = {name: 0 for name in isa.INSTRUCTIONS[mnemonic].fields} | fields
        getattr(self, "do_" + mnemonic.lower())(SimpleNamespace(**f))

    def _words(self, base, row_stride, panel_stride, rows, panels):
        return base + np.arange(rows)[:, None] * row_stride + np.arange(panels) * panel_stride

    def _panels(self, f):
        return f.tiles // self.config.tiles_per_panel

    def read(self, element, base, row_stride, panel_stride, rows, panels):
        """Elements int64[rows, channels]."""
        words = self._words(base, row_stride, panel_stride, rows, panels)
        panel = self.config.panel
        if element == isa.Element.INT16:
            lines = np.concatenate([self.scratchpad[words], self.scratchpad[words + 1]], axis=-1)
            return lines[..., :2 * panel].copy().view("<i2").astype(np.int64).reshape(rows, -1)
        values = self.scratchpad[words][..., :panel]
        return (values if element == isa.Element.UINT8 else values.view(np.int8)).astype(np.int64).reshape(rows, -1)

    def write(self, f, values):
        words = self._words(f.dst_base, f.dst_row_stride, f.dst_panel_stride, f.rows, self._panels(f))
        panel, word_bytes = self.config.panel, self.config.word_bytes
        values = values.reshape(f.rows, -1, panel)
        if f.dst_type == isa.Element.INT16:
            flat = values.astype("<i2").view(np.uint8)
            self.scratchpad[words[..., None], np.arange(min(word_bytes, 2 * panel))] = flat[..., :word_bytes]
            if 2 * panel > word_bytes:
                self.scratchpad[words[..., None] + 1, np.arange(2 * panel - word_bytes)] = flat[..., word_bytes:]
        else:
            self.scratchpad[words[..., None], np.arange(panel)] = values.astype(np.int16).astype(np.uint8)

    def records(self, base, groups, unsigned_zero):
        """``bias, mult, shift, zero`` int64[channels] of consecutive groups."""
        lanes = self.config.vector_lanes
        words = base + np.arange(groups)[:, None] * self.config.param_group_words + np.arange(self.config.param_group_words)
        raw = self.scratchpad[words].reshape(groups, -1)[:, :8 * lanes].copy().view("<i8").reshape(-1)
        mult = raw >> 32 & 0x3FFFF
        zero = raw >> 56 & 0xFF
        return (raw << 32 >> 32, mult - (mult >> 17 << 18), raw >> 50 & 63,
                zero if unsigned_zero else zero - (zero >> 7 << 8))

    def do_requant(self, f):
        config = self.config
        if f.src_type == isa.Element.ACC:
            words = self._words(f.src_base, f.src_row_stride, f.src_panel_stride, f.rows, f.tiles)
            x = self.accumulators[words].astype(np.int64).reshape(f.rows, -1)
        else:
            x = self.read(f.src_type, f.src_base, f.src_row_stride, f.src_panel_stride, f.rows, self._panels(f))
        if f.multiply or f.residual:
            second = self.read(f.res_type, f.res_base, f.res_row_stride, f.res_panel_stride, f.rows, self._panels(f))
        if f.multiply:
            x = x * second
        groups = config.groups_per_tile * (1 if f.param_hold else f.tiles)
        bias, mult, shift, zero = (np.tile(v, f.tiles if f.param_hold else 1) for v in self.records(
            f.param_base, groups, f.dst_type == isa.Element.UINT8))
        if config.constant_channels and not f.row_scale:
            x = numerics.without_constants(x, shift)
        if f.row_scale:
            rows = slice(f.state_base, f.state_base + f.rows)
            mult, shift = self.division[0, rows, None], self.division[1, rows, None]
        y = numerics.requantize(x, mult, shift, bias, zero)
        if f.residual:
            y = y + second
        if f.table:
            y = self.tables[f.slot][numerics.clamp(y, "int8") & 255]
        else:
            y = numerics.clamp(y, KINDS[f.dst_type])
        self.write(f, y)

    def do_stats(self, f):
        x = self.read(isa.Element.INT16, f.src_base, f.src_row_stride, f.src_panel_stride, f.rows, self._panels(f))
        rows = slice(f.state_base, f.state_base + f.rows)
        self.norm[:, rows] = numerics.norm_stats(x, f.features, f.eps, bool(f.rms))

    def do_norm(self, f):
        x = self.read(isa.Element.INT16, f.src_base, f.src_row_stride, f.src_panel_stride, f.rows, self._panels(f))
        s1, y1, sh = self.norm[:, f.state_base:f.state_base + f.rows]
        bias, mult, shift, zero = self.records(f.param_base, self.config.groups_per_tile * f.tiles,
                                               f.dst_type == isa.Element.UINT8)
        y = numerics.normalize(x, s1, y1, sh, f.features, mult, shift, bias, zero)
        self.write(f, numerics.clamp(y, KINDS[f.dst_type]))

    def do_softmax(self, f):
        config = self.config
        words = f.acc_base + np.arange(f.rows)[:, None] + np.arange(f.tiles) * f.acc_stride
        acc = self.accumulators[words].astype(np.int64).reshape(f.rows, -1)
        # The first group's records serve every group.
        bias, mult, shift, _ = (np.tile(v, f.tiles * config.groups_per_tile) for v in self.records(f.param_base, 1, False))
        z = numerics.clamp(numerics.requantize(acc, mult, shift, bias), "int16")
        keys = f.key_start + np.arange(f.tiles * config.cols)
        visible = np.broadcast_to(keys < f.key_limit, z.shape).copy()
        if f.causal:
            visible &= keys <= f.query_start + np.arange(f.rows)[:, None]
        if f.mask:
            slots = f.key_start // config.cols % config.mask_tiles_per_word + np.arange(f.tiles)
            for row in range(f.rows):
                words = f.mask_base + row * f.mask_row_stride + slots // config.mask_tiles_per_word
                bits = np.unpackbits(self.scratchpad[words], axis=-1, bitorder="little")
                first = slots % config.mask_tiles_per_word * config.mask_slot_bits
                visible[row] &= np.take_along_axis(bits, first[:, None] + np.arange(config.cols), 1).reshape(-1) == 1
        rows = slice(f.state_base, f.state_base + f.rows)
        state = numerics.SoftmaxState(f.rows)
        if not f.first:
            state.m, state.l = self.softmax.m[rows].copy(), self.softmax.l[rows].copy()
        probabilities, self.distance[rows] = numerics.softmax_block(z, visible, state)
        self.softmax.m[rows], self.softmax.l[rows] = state.m, state.l
        f.dst_type, f.dst_row_stride = isa.Element.UINT8, 1
        self.write(f, probabilities.astype(np.int64))
        if f.last:
            _, mult, shift, _ = self.records(f.param_base + config.param_tile_words, 1, False)
            self.division[:, rows] = numerics.softmax_division(state.l, mult[0], shift[0])

    def do_table(self, f):
        count = max(1, 256 // self.config.word_bytes)
        self.tables[f.slot] = self.scratchpad[f.src_base:f.src_base + count].reshape(-1)[:256]

    def do_vector_sync(self, f):
        pass
