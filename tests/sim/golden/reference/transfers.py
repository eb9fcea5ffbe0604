"""Load and store."""


class TransferThreads:
    """Threads of the load and the store engine of a `Machine`."""

    def load(self):
        while True:
            f = yield from self.take(self.queues[1])
            if f.name == "LOAD_SYNC":
                yield from self.wait(f.wait, f.wait_count)
                self.signal(f.signal, f.signal_count)
            elif f.name == "LOAD":
                yield from self.copy(f)
            elif f.name == "INDEX":
                yield from self.wait(f.wait)
                for n in range(f.count):
                    self.indices[n] = int.from_bytes(self.memory[f.dram_addr + 4 * n:f.dram_addr + 4 * n + 4], "little",
                                                     signed=True)
            else:
                yield from self.wait(f.wait)
                for n in range(f.count):
                    row = f.dram_addr + self.indices[f.first + n] * f.dram_stride
                    size, at = f.run_words * self.c.word_bytes, (f.spm_addr + n * f.spm_stride) * self.c.word_bytes
                    self.spm[at:at + size] = self.memory[row:row + size]
                    yield 1
                self.signal(f.signal)
            self.unfinished -= 1

    def store(self):
        while True:
            f = yield from self.take(self.queues[4])
            if f.name == "STORE_SYNC":
                yield from self.wait(f.wait, f.wait_count)
                self.signal(f.signal, f.signal_count)
            else:
                yield from self.copy(f)
            self.unfinished -= 1

    def copy(self, f):
        size = f.run_words * self.c.word_bytes
        for o in range(f.outer_count):
            if o == 0 or f.wait_each:
                yield from self.wait(f.wait)
            slot = (f.ring_start + o) % f.ring_slots if f.ring_slots else o
            for i in range(f.inner_count):
                m = f.dram_addr + o * f.outer_dram_stride + i * f.inner_dram_stride
                s = (f.spm_addr + slot * f.outer_spm_stride + i * f.inner_spm_stride) * self.c.word_bytes
                if f.name == "LOAD":
                    self.spm[s:s + size] = self.memory[m:m + size]
                else:
                    self.memory[m:m + size] = self.spm[s:s + size]
                    self.log.append((f.pc, m, bytes(self.spm[s:s + size])))
                yield 1
            if o == f.outer_count - 1 or f.signal_each:
                self.signal(f.signal)
