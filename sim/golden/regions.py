"""What an address in memory may be used for: constants, input, output and work buffers, and the guard bytes between."""

import numpy as np

__all__ = ["Regions"]


class Regions:
    """Ranges of an image's memory.

    ``constant_bytes``: bytes from 0 on that never change; ``granules``: number of DMA granules from `first_granule` on,
    which hold everything else.
    """

    def __init__(self, config, image):
        self.unit = config.dma_bytes
        self.constant_bytes = int(image.constant.size)
        self.first_granule = self.constant_bytes // self.unit
        self.granules = -(-int(image.memory_bytes) // self.unit) - self.first_granule
        buffers = sorted((b for b in image.buffers if b.kind != "constant"), key=lambda b: b.offset)
        self._buffers = buffers
        self._starts = np.array([b.offset for b in buffers], np.int64)
        self._ends = np.array([b.offset + b.bytes for b in buffers], np.int64)
        self._writable = np.array([b.kind in ("output", "work", "state") for b in buffers], bool)

    def given(self):
        """Granules of each buffer that holds data before the start: inputs and state."""
        return [self._granules(np.array([b.offset]), b.bytes) for b in self._buffers if b.kind in ("input", "state")]

    def granule_name(self, granule):
        return f"0x{(int(granule) + self.first_granule) * self.unit:x}"

    def name_of(self, address):
        """The buffer that holds a byte, or None."""
        place = int(np.searchsorted(self._starts, address, "right")) - 1
        return self._buffers[place] if place >= 0 and address < self._ends[place] else None

    def _granules(self, addresses, size):
        first = addresses.reshape(-1) // self.unit
        count = -(-size // self.unit)
        return (first[:, None] + np.arange(count) - self.first_granule).reshape(-1)

    def _inside(self, addresses, size):
        """For each run the number of the buffer that holds it, -1 for none."""
        if not self._buffers:
            return np.full(addresses.shape, -1)
        place = np.searchsorted(self._starts, addresses, "right") - 1
        return np.where((place >= 0) & (addresses + size <= self._ends[np.maximum(place, 0)]), place, -1)

    def check_read(self, operation, addresses, size):
        """Granules outside the constants that runs of ``size`` bytes read; raises for runs not within one buffer."""
        addresses = addresses.reshape(-1)
        varying = addresses[(addresses < 0) | (addresses + size > self.constant_bytes)]
        bad = varying[self._inside(varying, size) < 0]
        if bad.size:
            raise operation.error(f"reads {size} bytes of memory from 0x{int(bad[0]):x}, which lie in no buffer")
        return self._granules(varying, size)

    def check_write(self, operation, addresses, size):
        """Granules that runs of ``size`` bytes write; raises for runs not within one output, work or state buffer."""
        addresses = addresses.reshape(-1)
        inside = self._inside(addresses, size)
        bad = addresses[(inside < 0) | ~self._writable[np.maximum(inside, 0)]] if self._buffers else addresses
        if bad.size:
            raise operation.error(f"writes {size} bytes of memory from 0x{int(bad[0]):x}, which lie in no output or work "
                                  "buffer")
        return self._granules(addresses, size)

    def buffer_granules(self, operation, address):
        """Granules of the buffer that holds a table, none for constants."""
        if 0 <= address < self.constant_bytes:
            return np.empty(0, np.int64)
        buffer = self.name_of(address)
        if buffer is None:
            raise operation.error(f"reads a table at 0x{address:x}, which lies in no buffer")
        return self._granules(np.array([buffer.offset]), buffer.bytes)
