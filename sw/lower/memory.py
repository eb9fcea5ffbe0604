"""Who lies where: the accelerator's memory, and allocation of scratchpad, accumulators and row state."""

import numpy as np

from weft.hw.image import Buffer

from .layout import round_up

__all__ = ["GUARD_BYTES", "ALIGNMENT", "MemoryMap", "Allocator", "BankedAllocator", "Ring"]

#: Bytes between two buffers that nobody touches.
GUARD_BYTES = 64
#: Alignment of buffers in memory: AXI bursts of a buffer start on a boundary of their own.
ALIGNMENT = 256


class MemoryMap:
    """Offsets of everything in memory: constants first (weights, parameters, tables), then code, then the buffers."""

    def __init__(self, config):
        self.config = config
        self._constants = []
        self._constant_bytes = 0
        self._buffers = {}
        self._known = {}

    def copy(self):
        """An equal map that grows on its own; the data are shared."""
        other = MemoryMap(self.config)
        other._constants, other._constant_bytes = list(self._constants), self._constant_bytes
        other._buffers, other._known = dict(self._buffers), dict(self._known)
        return other

    def constant(self, data, key=None):
        """Byte offset of ``data`` (uint8[n], or a function that makes it); equal ``key``: made and stored once."""
        if key is not None and key in self._known:
            return self._known[key]
        data = np.ascontiguousarray(data() if callable(data) else data).reshape(-1).view(np.uint8)
        offset = self._constant_bytes
        padded = round_up(data.size, self.config.dma_bytes)
        self._constants.append((offset, data))
        self._constant_bytes += padded
        if key is not None:
            self._known[key] = offset
        return offset

    def buffer(self, name, size, kind):
        """Offset of a buffer of ``size`` bytes, counted from the first buffer; a known name means the same buffer."""
        size = round_up(size, self.config.dma_bytes)
        if name not in self._buffers:
            offset = round_up(self.buffer_bytes + GUARD_BYTES, ALIGNMENT) if self._buffers else 0
            self._buffers[name] = offset, size, kind
        elif self._buffers[name][1:] != (size, kind):
            raise ValueError(f"buffer {name} of {size} bytes ({kind}) is known as {self._buffers[name]}")
        return self._buffers[name][0]

    @property
    def buffer_bytes(self):
        """Bytes from the first buffer's start to the last one's end."""
        offset, size, _ = next(reversed(self._buffers.values()), (0, 0, None))
        return offset + size

    def finish(self, code_bytes):
        """``(constant image without code, code offset, first buffer's offset, buffers, size of everything)``."""
        code = round_up(self._constant_bytes + GUARD_BYTES, ALIGNMENT)
        first = round_up(code + code_bytes + GUARD_BYTES, ALIGNMENT)
        image = np.zeros(code + code_bytes, np.uint8)
        for offset, data in self._constants:
            image[offset:offset + data.size] = data
        buffers = [Buffer("constants", 0, self._constant_bytes, "constant")] if self._constant_bytes else []
        buffers.append(Buffer("code", code, code_bytes, "constant"))
        buffers += [Buffer(name, first + offset, size, kind) for name, (offset, size, kind) in self._buffers.items()]
        # Instruction fetch reads on behind END.
        end = max(first + self.buffer_bytes, code + code_bytes + self.config.fetch_ahead_bytes)
        return image, code, first, buffers, round_up(end + GUARD_BYTES, 4096)


class Allocator:
    """Ranges of words ``[start, stop)``, the next one taken behind the last (next fit).

    Moving on instead of reusing what was freed last lets the next strip be computed while the last is still read.
    """

    def __init__(self, start, stop):
        self.start, self.stop = start, stop
        self._next = start
        self._used = {}

    def _gaps(self, away=None):
        """Free ranges; ``away``: without that one."""
        used = {**self._used, away[0]: max(away[1] - away[0], self._used.get(away[0], 0))} if away else self._used
        position = self.start
        for base in sorted(used):
            if min(base, self.stop) > position:
                yield position, min(base, self.stop)
            position = max(position, base + used[base])
        if position < self.stop:
            yield position, self.stop

    def largest(self):
        """Words of the largest free range."""
        return max((b - a for a, b in self._gaps()), default=0)

    def alloc(self, words, align=2, cost=None, places=(), away=None):
        """First word of a free range, or None. With ``cost`` (a function of the first word) the cheapest place at the
        start of a gap, at its end, or at one of ``places``, instead of the next one. ``away``: a range of words outside
        which it lies."""
        best = None
        for a, b in self._gaps(away):
            for low in (max(a, self._next), a) if cost is None else (a, (b - words) // align * align, *places):
                base = round_up(low, align)
                if a <= base and base + words <= b:
                    # Behind the last allocation first, else from the front again.
                    rank = (base < self._next, base) if cost is None else (cost(base), base)
                    if best is None or rank < best[0]:
                        best = rank, base
                    if cost is None:
                        break
        if best is None:
            return None
        base = best[1]
        self._used[base] = words
        if cost is None:
            self._next = base + words
        return base

    @property
    def next(self):
        """Where the next range without a cost is looked for."""
        return self._next

    def free(self, base):
        """Returns a range."""
        del self._used[base]


class BankedAllocator(Allocator):
    """An `Allocator` whose successive ranges lie in different banks where they fit one.

    In a bank that one engine uses in every cycle another one starves.
    """

    def __init__(self, stop, banks):
        super().__init__(0, stop)
        self._size = stop // banks
        self._pointers = [number * self._size for number in range(banks)]
        self._turn = 0

    def alloc(self, words, align=1):
        """First word of a free range, or None."""
        banks = len(self._pointers)
        for step in range(banks):
            bank = (self._turn + step) % banks
            low, high = bank * self._size, (bank + 1) * self._size
            base = self._find(words, align, low, high, self._pointers[bank])
            if base is not None:
                self._turn = bank + 1
                self._pointers[bank] = base + words
                self._used[base] = words
                return base
        return super().alloc(words, align)

    def _find(self, words, align, low, high, pointer):
        gaps = [(max(a, low), min(b, high)) for a, b in self._gaps() if a < high and b > low]
        for start in (pointer, low):
            for a, b in gaps:
                base = round_up(max(a, start), align)
                if base + words <= b:
                    return base
        return None


class Ring:
    """Ranges taken round and round; whoever loads a range waits for the readers of what it held before.

    A range stays valid until as many words as the ring holds, less the range, have been taken.
    """

    def __init__(self, start, stop, align):
        self.start, self.stop, self.align = start, stop, align
        self._next = start

    @property
    def words(self):
        return self.stop - self.start

    def take(self, words):
        """First word of the next range."""
        words = round_up(words, self.align)
        if words > self.words:
            raise ValueError(f"{words} words do not fit a ring of {self.words}")
        if self._next + words > self.stop:
            self._next = self.start
        base = self._next
        self._next += words
        return base
