"""What a run works on: scratchpad, accumulators, row state and memory of a batch of inputs."""

import numpy as np

from weft.sim.numerics import EMPTY

__all__ = ["RunState", "granule_view"]


def granule_view(data, unit):
    """Bytes as uint8[granules, unit], the last granule filled with zeros."""
    count = -(-data.size // unit)
    if data.size == count * unit:
        return data.reshape(count, unit)
    padded = np.zeros(count * unit, np.uint8)
    padded[:data.size] = data
    return padded.reshape(count, unit)


class RunState:
    """Machine state of ``batch`` runs of one program.

    ``scratchpad``: uint8[batch, words, word_bytes]; ``accumulators``: int32[batch, words, cols]; ``memory``: uint8[batch,
    granules, dma_bytes], from the granule of the last constant on; ``constant``: uint8[granules, dma_bytes], shared;
    row state: int64[batch, rows] each; ``tables``: uint8[batch, 2, 256]; ``staged``: stationary operands by operation
    number; ``stores``: ``(pc, granules[n], uint8[batch, n, dma_bytes])`` in order.
    """

    def __init__(self, config, regions, constant, batch):
        self.config, self.batch, self.constant = config, batch, constant
        self.scratchpad = np.zeros((batch, config.scratchpad_words, config.word_bytes), np.uint8)
        self.accumulators = np.zeros((batch, config.accumulator_words, config.cols), np.int32)
        self.first_granule = regions.first_granule
        self.memory = np.zeros((batch, regions.granules, config.dma_bytes), np.uint8)
        if regions.constant_bytes % config.dma_bytes and regions.granules:
            self.memory[:, 0] = constant[regions.first_granule]
        shape = batch, config.state_rows
        self.maximum = np.full(shape, EMPTY, np.int64)
        self.total, self.distance = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.division_mult, self.division_shift = np.zeros(shape, np.int64), np.ones(shape, np.int64)
        self.sum, self.root, self.root_shift = (np.zeros(shape, np.int64) for _ in range(3))
        self.tables = np.zeros((batch, 2, 256), np.uint8)
        self.indices = np.zeros((batch, config.index_entries), np.int64)
        self.staged = {}
        self.stores = []

    def fetch(self, granules):
        """Memory at granule numbers (any shape): uint8[batch or 1, *shape, dma_bytes]."""
        varying = granules - self.first_granule
        inside = varying >= 0
        if inside.all():
            return self.memory[:, varying]
        if not inside.any():
            return self.constant[granules][None]
        data = np.empty((self.batch, *granules.shape, self.config.dma_bytes), np.uint8)
        data[:, inside] = self.memory[:, varying[inside]]
        data[:, ~inside] = self.constant[granules[~inside]]
        return data

    def words(self, index):
        """Scratchpad words uint8[batch, *index.shape, word_bytes]."""
        return self.scratchpad[:, index]
