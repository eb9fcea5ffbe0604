"""Copies between memory and scratchpad."""

import numpy as np

from . import layout

__all__ = ["Load", "Store", "Index", "Gather"]


class _Dma:
    def __init__(self, config, group):
        f = group.operation.f
        self.operation = group.operation
        unit = config.dma_bytes
        granules = f.run_words * config.word_bytes // unit
        self.granules = (layout.dma_addresses(f, group.start, group.stop)[:, :, None] // unit
                         + np.arange(granules)).reshape(-1)
        self.words = layout.dma_words(f, group.start, group.stop).reshape(-1)
        self.shape = self.words.size, config.word_bytes
        self.unit = unit


class Load(_Dma):
    """LOAD: later runs to the same word (a ring) replace earlier ones."""

    def run(self, state):
        data = state.fetch(self.granules)
        state.scratchpad[:, self.words] = data.reshape(data.shape[0], *self.shape)


class Store(_Dma):
    def run(self, state):
        data = state.words(self.words).reshape(state.batch, self.granules.size, self.unit)
        state.memory[:, self.granules - state.first_granule] = data
        state.stores.append((self.operation.pc, self.granules, data))


class Index:
    def __init__(self, config, group):
        f = group.operation.f
        self.count, self.unit = f.count, config.dma_bytes
        self.granules = f.dram_addr // self.unit + np.arange(-(-4 * f.count // self.unit))

    def run(self, state):
        data = np.ascontiguousarray(state.fetch(self.granules))
        data = data.reshape(data.shape[0], -1)[:, :4 * self.count]
        state.indices[:, :self.count] = np.ascontiguousarray(data).view("<i4")


class Gather:
    """GATHER: the rows must lie in the buffer (or the constants) that holds row 0."""

    def __init__(self, config, group, regions):
        f = group.operation.f
        self.operation, self.regions, self.f = group.operation, regions, f
        self.size = f.run_words * config.word_bytes
        self.words = f.spm_addr + np.arange(f.count)[:, None] * f.spm_stride + np.arange(f.run_words)
        buffer = None if f.dram_addr < regions.constant_bytes else regions.name_of(f.dram_addr)
        self.low, self.high = (0, regions.constant_bytes) if buffer is None else (buffer.offset,
                                                                                buffer.offset + buffer.bytes)

    def run(self, state):
        f, unit = self.f, state.config.dma_bytes
        rows = state.indices[:, f.first:f.first + f.count]
        addresses = f.dram_addr + rows * f.dram_stride
        bad = (addresses < self.low) | (addresses + self.size > self.high)
        if bad.any():
            raise self.operation.error(f"gathers row {rows[bad][0]}, at 0x{int(addresses[bad][0]) & (1 << 64) - 1:x}, "
                                       "outside the table's buffer")
        granules = addresses[:, :, None] // unit + np.arange(self.size // unit)
        for item in range(state.batch):
            data = state.fetch(granules[item])[0 if granules[item].min() < state.first_granule else item]
            state.scratchpad[item, self.words] = data.reshape(*self.words.shape, -1)

    def result(self, state):
        """The rows fetched, uint8[batch, rows, bytes]."""
        return state.words(self.words).reshape(state.batch, self.f.count, -1)
