"""Banks of the accumulators: the vector engine's reads wait where the array reads what it adds to."""

from collections import deque

__all__ = ["SumBanks"]


class _Product:
    """Rows of one instruction at the accumulators: tile ``i`` from cycle ``start + i * pace`` on, a row each cycle."""

    def __init__(self, f, start, pace, depth):
        self.start, self.pace, self.depth = start, pace, depth
        self.rows, self.k_tiles, self.n_tiles, self.k_outer = f["rows"], f["k_tiles"], f["n_tiles"], f["k_outer"]
        self.base, self.stride, self.accumulate = f["acc_base"], f["acc_stride"], f["accumulate"]
        self.end = start + self.k_tiles * self.n_tiles * pace
        self.banks = range(self.base // depth, (self.base + (self.n_tiles - 1) * self.stride + self.rows - 1) // depth + 1)

    def at(self, cycle, bank):
        """Whether the array reads the bank in a cycle from ``start`` to ``end``, and until which one it is so at least."""
        tile, row = divmod(cycle - self.start, self.pace)
        begun, behind = cycle - row, cycle - row + self.pace
        k, n = divmod(tile, self.n_tiles) if self.k_outer else divmod(tile, self.k_tiles)[::-1]
        if k == 0 and not self.accumulate:
            return False, behind
        place = self.base + n * self.stride
        first = max(bank * self.depth - place, 0)
        last = min((bank + 1) * self.depth - place, self.rows)
        if row >= last or first >= last:
            return False, behind
        return (False, begun + first) if row < first else (True, begun + last)


class SumBanks:
    """Products in the order of the tensor engine, and reads in that of the vector engine."""

    def __init__(self, config):
        self._depth = config.accumulator_words // config.accumulator_banks
        self._products = deque()

    def product(self, f, start, pace):
        """A product whose first row reaches the accumulators in cycle ``start``, a tile each ``pace`` cycles. One that
        only overwrites them reads none."""
        if f["accumulate"] or f["k_tiles"] > 1:
            self._products.append(_Product(f, start, pace, self._depth))

    def busy(self, since, until, first, last):
        """Whether reads of words ``first`` to ``last`` in cycles ``since`` to ``until`` may have to wait. No later read is
        earlier than ``since``."""
        while self._products and self._products[0].end <= since:
            self._products.popleft()
        first, last = first // self._depth, last // self._depth
        return any(p.start <= until and p.banks.start <= last and first < p.banks.stop for p in self._products)

    def read(self, cycle, word, stride, count, pace=1):
        """Cycle behind ``count`` reads, ``stride`` words apart, that take ``pace`` cycles each and are not asked for before
        ``cycle``."""
        while count:
            bank = word // self._depth
            here = min(count, -(-((bank + 1) * self._depth - word) // stride)) if stride else count
            cycle = self._read_bank(cycle, bank, here, pace)
            word += here * stride
            count -= here
        return cycle

    def _read_bank(self, cycle, bank, count, pace):
        for product in self._products:
            if bank not in product.banks:
                continue
            if cycle < product.start:
                done = min(count, -(-(product.start - cycle) // pace))
                cycle += done * pace
                count -= done
            while count and cycle < product.end:
                waits, until = product.at(cycle, bank)
                if waits:
                    cycle = until
                else:
                    done = min(count, -(-(until - cycle) // pace))
                    cycle += done * pace
                    count -= done
            if not count:
                return cycle
        return cycle + count * pace
