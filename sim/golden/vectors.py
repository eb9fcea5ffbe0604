"""Vector instructions on whole ranges of tiles; the formulas are in `weft.sim.numerics`."""

import numpy as np

from weft.hw.isa import Element
from weft.sim import numerics

from . import layout

__all__ = ["Requant", "Norm", "Stats", "Softmax", "Table", "parse_records"]

_KINDS = {Element.INT8: "int8", Element.UINT8: "uint8", Element.INT16: "int16"}
_DTYPES = {Element.INT8: np.int8, Element.UINT8: np.uint8, Element.INT16: np.dtype("<i2")}


def parse_records(config, words, unsigned_zero):
    """Parameters ``(bias, mult, shift, zero)`` int64[..., channels] from record words uint8[..., tiles, words, word_bytes],
    whole groups."""
    lead = words.shape[:-2]
    data = words.reshape(*lead, -1, config.param_group_words * config.word_bytes)[..., :8 * config.vector_lanes]
    data = np.ascontiguousarray(data).view("<u4").reshape(*lead[:-1], -1, 2)
    bias = data[..., 0].view(np.int32).astype(np.int64)
    high = data[..., 1].astype(np.int64)
    mult = ((high & 0x3FFFF) ^ 0x20000) - 0x20000
    zero = high >> 24
    if not unsigned_zero:
        zero = (zero ^ 0x80) - 0x80
    return bias, mult, high >> 18 & 63, zero


class _Operand:
    """Tiles of a scratchpad operand."""

    def __init__(self, config, f, prefix, kind, start, stop):
        self.kind, self.size = kind, layout.element_bytes(kind)
        base, row, panel = (getattr(f, f"{prefix}_{n}") for n in ("base", "row_stride", "panel_stride"))
        self.pieces, tile_bytes, at = [], config.cols * self.size, 0
        per = config.tiles_per_panel
        for p0, p1, j0, j1 in layout.tile_runs(-(-stop // per), per, start, stop):
            words = base + np.arange(p0, p1) * panel + np.arange(f.rows)[:, None] * row
            width = (p1 - p0) * (j1 - j0) * config.cols
            self.pieces.append((words // self.size, slice(j0 * tile_bytes, j1 * tile_bytes), slice(at, at + width)))
            at += width

    def _view(self, state):
        return state.scratchpad.reshape(state.batch, -1, state.config.word_bytes * self.size)

    def read(self, state):
        """int64[batch, rows, channels]."""
        view, parts = self._view(state), []
        for index, part, _ in self.pieces:
            data = np.ascontiguousarray(view[:, index][..., part])
            parts.append(data.view(_DTYPES[self.kind]).reshape(state.batch, index.shape[0], -1))
        return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)).astype(np.int64)

    def write(self, state, values):
        """Stores values (already in range) [batch, rows, channels]."""
        view = self._view(state)
        values = values.astype(_DTYPES[self.kind])
        for index, part, channels in self.pieces:
            data = np.ascontiguousarray(values[..., channels]).view(np.uint8)
            view[:, index, part] = data.reshape(state.batch, *index.shape, -1)


class _Records:
    """Parameters of a range of tiles: constants parsed once, or read at run time."""

    def __init__(self, config, operation, words, addresses, constant_words, unsigned_zero):
        self._constants = operation.mnemonic == "REQUANT" and config.constant_channels
        self.config, self.operation, self.words, self.unsigned_zero = config, operation, words, unsigned_zero
        self.values = None
        if addresses is not None:
            self.values = self._checked(constant_words[addresses // config.word_bytes][None])

    def _checked(self, data):
        bias, mult, shift, zero = parse_records(self.config, data, self.unsigned_zero)
        # Records of zeros give 0 (padding), in a norm too.
        bad = (shift == 0) & ((mult != 0) | (bias != 0) & (self.operation.mnemonic == "NORM"))
        if bad.any() and not self._constants:
            raise self.operation.error(f"the parameter record of channel {np.argwhere(bad)[0][-1]} has shift 0")
        return bias, mult, shift, zero

    def get(self, state):
        """``(bias, mult, shift, zero)``, each int64[batch or 1, channels]."""
        return self.values if self.values is not None else self._checked(state.words(self.words))


def _records(config, group, resolved, constant_words):
    """Records of a group of REQUANT or NORM."""
    f = group.operation.f
    hold = getattr(f, "param_hold", 0)
    addresses = None
    if group.constant:
        addresses = resolved.addresses[:1] if hold else resolved.addresses[group.start:group.stop]
    return _Records(config, group.operation, layout.param_words(config, f, group.start, group.stop), addresses,
                    constant_words, f.dst_type == Element.UINT8)


def _fits_int32(operation, x, what):
    if x.size and (x.max() > 2 ** 31 - 1 or x.min() < -2 ** 31):
        row, channel = np.argwhere((x > 2 ** 31 - 1) | (x < -2 ** 31))[0][1:]
        raise operation.error(f"{what} of row {row}, channel {channel} overflows int32")


class Requant:
    def __init__(self, config, group, resolved, constant_words):
        self.operation, f = group.operation, group.operation.f
        self.f, self.tiles = f, group.stop - group.start
        self.source = None
        if f.src_type == Element.ACC:
            self.words = (f.src_base + np.arange(group.start, group.stop) * f.src_panel_stride
                          + np.arange(f.rows)[:, None] * f.src_row_stride)
        else:
            self.source = _Operand(config, f, "src", f.src_type, group.start, group.stop)
        self.second = (_Operand(config, f, "res", f.res_type, group.start, group.stop)
                       if f.residual or f.multiply else None)
        self.destination = _Operand(config, f, "dst", f.dst_type, group.start, group.stop)
        self.records = _records(config, group, resolved, constant_words)
        self.repeat = self.tiles if f.param_hold else 1
        self.constants = config.constant_channels and not f.row_scale

    def run(self, state):
        f = self.f
        if self.source is None:
            x = state.accumulators[:, self.words].astype(np.int64).reshape(state.batch, f.rows, -1)
        else:
            x = self.source.read(state)
        second = self.second.read(state) if self.second is not None else None
        if f.multiply:
            x = x * second
            _fits_int32(self.operation, x, "product")
        bias, mult, shift, zero = (np.tile(v, self.repeat)[:, None, :] for v in self.records.get(state))
        if self.constants:
            x = numerics.without_constants(x, shift)
        x = x + bias
        _fits_int32(self.operation, x, "sum with the bias")
        if f.row_scale:
            rows = slice(f.state_base, f.state_base + f.rows)
            mult, shift = state.division_mult[:, rows, None], state.division_shift[:, rows, None]
        y = numerics.requantize(x, mult, shift) + zero
        if f.residual:
            y = y + second
        if f.table:
            index = (np.clip(y, -128, 127) & 255).astype(np.intp)
            table = state.tables[:, f.slot]
            out = np.take_along_axis(table, index.reshape(state.batch, -1), axis=1).reshape(index.shape)
            if f.dst_type == Element.INT8:
                out = out.view(np.int8)
        else:
            out = numerics.clamp(y, _KINDS[f.dst_type])
        self.destination.write(state, out)

    def result(self, state):
        """What it wrote, int64[batch, rows, channels]."""
        return self.destination.read(state)


class Stats:
    def __init__(self, config, group):
        self.f = f = group.operation.f
        self.source = _Operand(config, f, "src", Element.INT16, 0, f.tiles)
        self.operation = group.operation

    def run(self, state):
        f, rows = self.f, slice(self.f.state_base, self.f.state_base + self.f.rows)
        x = self.source.read(state)
        if x[..., f.features:].any():
            raise self.operation.error(f"channels beyond the {f.features} features hold something else than zero")
        (state.sum[:, rows], state.root[:, rows], state.root_shift[:, rows]) = numerics.norm_stats(
            x, f.features, f.eps, bool(f.rms))


class Norm:
    def __init__(self, config, group, resolved, constant_words):
        self.f = f = group.operation.f
        self.source = _Operand(config, f, "src", Element.INT16, group.start, group.stop)
        self.destination = _Operand(config, f, "dst", f.dst_type, group.start, group.stop)
        self.records = _records(config, group, resolved, constant_words)

    def run(self, state):
        f, rows = self.f, slice(self.f.state_base, self.f.state_base + self.f.rows)
        bias, mult, shift, zero = (v[:, None, :] for v in self.records.get(state))
        y = numerics.normalize(self.source.read(state), state.sum[:, rows], state.root[:, rows],
                               state.root_shift[:, rows], f.features, mult, shift, bias, zero)
        self.destination.write(state, numerics.clamp(y, _KINDS[f.dst_type]))

    def result(self, state):
        """What it wrote, int64[batch, rows, channels]."""
        return self.destination.read(state)


class Softmax:
    def __init__(self, config, group, resolved, constant_words):
        self.config, self.operation = config, group.operation
        f = self.f = group.operation.f
        self.scores = layout.accumulator_words(f.acc_base, f.acc_stride, np.arange(f.tiles), f.rows).T
        words = layout.softmax_param_words(config, f)
        self.records = [_Records(config, self.operation, words[n:n + 1],
                                 resolved.addresses[n:n + 1] if group.constant else None, constant_words, False)
                        for n in range(1 + f.last)]
        panels = np.arange(f.tiles // config.tiles_per_panel)
        self.destination = f.dst_base + panels * f.dst_panel_stride + np.arange(f.rows)[:, None]
        keys = f.key_start + np.arange(f.tiles * config.cols)
        self.visible = np.broadcast_to(keys < f.key_limit, (f.rows, keys.size))
        if f.causal:
            self.visible = self.visible & (keys <= f.query_start + np.arange(f.rows)[:, None])
        self.mask = layout.mask_words(config, f) if f.mask else None

    def _mask(self, state):
        """Mask bits bool[batch, rows, keys]."""
        words, slot = self.mask
        bits = np.unpackbits(state.words(words), axis=-1, bitorder="little")
        bits = bits.reshape(state.batch, self.f.rows, -1, self.config.mask_slot_bits)
        bits = bits[:, :, slot:slot + self.f.tiles, :self.config.cols]
        return bits.reshape(state.batch, self.f.rows, -1).astype(bool)

    def run(self, state):
        f, config = self.f, self.config
        rows = slice(f.state_base, f.state_base + f.rows)
        bias, mult, shift, _ = (np.tile(v, f.tiles * config.groups_per_tile)[:, None, :] for v in self.records[0].get(state))
        acc = state.accumulators[:, self.scores].astype(np.int64).reshape(state.batch, f.rows, -1)
        _fits_int32(self.operation, acc + bias, "sum with the bias")
        z = numerics.clamp(numerics.requantize(acc, mult, shift, bias), "int16")
        visible = self.visible & self._mask(state) if self.mask is not None else self.visible
        running = numerics.SoftmaxState((state.batch, f.rows))
        if not f.first:
            running.m, running.l = state.maximum[:, rows], state.total[:, rows]
        probabilities, state.distance[:, rows] = numerics.softmax_block(z, visible, running)
        state.maximum[:, rows], state.total[:, rows] = running.m, running.l
        probabilities = probabilities.reshape(state.batch, f.rows, -1, config.panel)
        state.scratchpad[:, self.destination, :config.panel] = probabilities
        if f.last:
            _, mult, shift, _ = (v[:, :1] for v in self.records[1].get(state))
            mult, shift = numerics.softmax_division(running.l, mult, shift)
            if (shift > 63).any():
                raise self.operation.error(f"the division's shift is {shift.max()}, more than 63")
            state.division_mult[:, rows], state.division_shift[:, rows] = mult, shift


class Table:
    def __init__(self, config, group, resolved, constant_words):
        f = group.operation.f
        self.slot = f.slot
        self.words = f.src_base + np.arange(max(1, 256 // config.word_bytes))
        self.values = None
        if group.constant:
            self.values = constant_words[resolved.addresses[0] // config.word_bytes].reshape(-1)

    def run(self, state):
        state.tables[:, self.slot] = (self.values if self.values is not None
                                      else state.words(self.words).reshape(state.batch, -1))
