"""What the DMA instructions do, written down from the formulas of ``hw/README.md``, and random programs of them."""

import numpy as np

__all__ = ["DmaModel", "random_program", "MEMORY_BYTES", "PROGRAM", "TABLE", "DATA", "OUT", "DUMP"]

#: Memory that the programs use, and where in it their instructions, row numbers, data, results and at the end the
#: scratchpad's contents are.
MEMORY_BYTES = 1 << 19
PROGRAM = 0x1000
TABLE = 0x8000
DATA = 0x10000
OUT = 0x28000
DUMP = 0x70000
# More than a random store covers.
_STORE_BYTES = 0x14000


class DmaModel:
    """Executes loads, stores and gathers on ``memory`` (uint8[bytes]); the scratchpad starts with zeros."""

    def __init__(self, config, memory):
        self.config, self.memory = config, memory
        self.scratchpad = np.zeros(config.scratchpad_words * config.word_bytes, np.uint8)
        self.index = np.zeros(config.index_entries, np.int64)

    def runs(self, f):
        word = self.config.word_bytes
        for o in range(f["outer_count"]):
            slot = (f["ring_start"] + o) % f["ring_slots"] if f["ring_slots"] else o
            for i in range(f["inner_count"]):
                yield (f["dram_addr"] + o * f["outer_dram_stride"] + i * f["inner_dram_stride"],
                       (f["spm_addr"] + slot * f["outer_spm_stride"] + i * f["inner_spm_stride"]) * word,
                       f["run_words"] * word)

    def load(self, f):
        for memory, scratchpad, size in self.runs(f):
            self.scratchpad[scratchpad:scratchpad + size] = self.memory[memory:memory + size]

    def store(self, f):
        for memory, scratchpad, size in self.runs(f):
            self.memory[memory:memory + size] = self.scratchpad[scratchpad:scratchpad + size]

    def index_rows(self, f):
        self.index[:f["count"]] = self.memory[f["dram_addr"]:f["dram_addr"] + 4 * f["count"]].view(np.int32)

    def gather(self, f):
        size = f["run_words"] * self.config.word_bytes
        for i in range(f["count"]):
            memory = f["dram_addr"] + self.index[f["first"] + i] * f["dram_stride"]
            scratchpad = (f["spm_addr"] + i * f["spm_stride"]) * self.config.word_bytes
            self.scratchpad[scratchpad:scratchpad + size] = self.memory[memory:memory + size]


def _random_loops(rng, config):
    """Loop fields of a DMA instruction whose runs do not overlap, at most a few KiB."""
    granule = config.dma_words
    run = granule * rng.choice([1, 1, 2, 3, 4, 8, 13])
    inner, outer = rng.choice([1, 1, 2, 3, 5]), rng.choice([1, 1, 2, 3, 6])
    gap = granule * rng.choice([0, 0, 1, 3])
    spm_stride = run + gap
    ring = rng.choice([0, 0, rng.randint(1, outer)])
    return dict(run_words=run, inner_count=inner, outer_count=outer, inner_spm_stride=spm_stride,
                outer_spm_stride=spm_stride * inner + granule * rng.choice([0, 1]), ring_slots=ring,
                ring_start=rng.randrange(ring) if ring else 0)


def _memory_fields(rng, config, loops, first):
    """Addresses in memory, distinct for every run."""
    size, granule = loops["run_words"] * config.word_bytes, config.dma_bytes
    inner = size + granule * rng.choice([0, 0, 0, 1, 5])
    outer = inner * loops["inner_count"] + granule * rng.choice([0, 0, 2])
    return dict(dram_addr=first + granule * rng.randrange(64), inner_dram_stride=inner, outer_dram_stride=outer)


def _words(f):
    """Scratchpad words from the first to the last that the loops touch."""
    slots = f["ring_slots"] or f["outer_count"]
    return (slots - 1) * f["outer_spm_stride"] + (f["inner_count"] - 1) * f["inner_spm_stride"] + f["run_words"]


def random_program(rng, config, model):
    """Loads and stores ordered by tokens only, between barriers; runs the model along.

    Neighbours in the scratchpad share lines. All of the scratchpad that is used is loaded first and stored last, so
    that a byte changed beside a run shows.

    Returns ``(instructions, scalar registers)``.
    """
    granule = config.dma_words
    area = min(config.scratchpad_words // 2, 256 * granule) // granule * granule
    everything = dict(run_words=area, inner_count=1, outer_count=1, inner_spm_stride=0, outer_spm_stride=0,
                      ring_slots=0, ring_start=0, spm_addr=0, inner_dram_stride=0, outer_dram_stride=0)
    fill = everything | dict(dram_addr=DATA)
    model.load(fill)
    code = [("LOAD", fill)]
    registers = {n: rng.randrange(-64, 64) * config.dma_bytes for n in range(1, 4)}
    out, table = OUT, TABLE
    for _ in range(rng.randint(2, 4)):
        code.append(("BARRIER", {}))
        place = granule * rng.randrange(8)
        for _ in range(rng.randint(1, 4)):
            semaphore = 1 + rng.randrange(15)      # consumed by the store engine
            each = rng.random() < 0.6
            gathers = rng.random() < 0.25
            for _ in range(10):
                loops = _random_loops(rng, config)
                if gathers:
                    count = min(2 * loops["inner_count"], config.index_entries - 3)
                    loops |= dict(outer_count=1, inner_count=count, ring_slots=0, ring_start=0)
                if place + _words(loops) <= area:
                    break
            else:
                break
            loops["spm_addr"] = place
            place += _words(loops)
            if loops["ring_slots"] and loops["ring_slots"] < loops["outer_count"]:
                each = False        # slots are loaded again: the store must not run between
            if gathers:
                far = rng.choice([0, rng.randrange(1 << 20)])      # row numbers with more than a few low bits
                rows = [rng.randrange(-4, 20) - far for _ in range(count + 3)]
                stride = (loops["run_words"] + granule * rng.randrange(3)) * config.word_bytes
                model.memory[table:table + 4 * len(rows)] = np.array(rows, np.int32).view(np.uint8)
                fetch = dict(dram_addr=table, count=len(rows))
                table += 0x400
                model.index_rows(fetch)
                code.append(("INDEX", fetch))
                gather = dict(dram_addr=DATA + (8 + far) * stride, dram_stride=stride, spm_addr=loops["spm_addr"],
                              spm_stride=loops["inner_spm_stride"], run_words=loops["run_words"], first=3, count=count)
                model.gather(gather)
                code.append(("GATHER", gather | dict(signal=semaphore)))
                each = False
            else:
                register = rng.choice([0, 1, 2, 3])
                load = loops | _memory_fields(rng, config, loops, DATA + 0x1000)
                model.load(load)
                code.append(("LOAD", load | dict(dram_addr=load["dram_addr"] - registers.get(register, 0),
                                                 dram_reg=register, signal=semaphore, signal_each=each)))
            if rng.random() < 0.3:      # hand the tokens on through both engines
                count = loops["outer_count"] if each else 1
                other = 16 + rng.randrange(16)     # consumed by the load engine
                code.append(("STORE_SYNC", dict(wait=semaphore, wait_count=count, signal=other, signal_count=count)))
                code.append(("LOAD_SYNC", dict(wait=other, wait_count=count, signal=semaphore, signal_count=count)))
            store = loops | _memory_fields(rng, config, loops, out)
            model.store(store)
            code.append(("STORE", store | dict(wait=semaphore, wait_each=each)))
            out = store["dram_addr"] + store["outer_dram_stride"] * store["outer_count"] + 4096
            if out > DUMP - _STORE_BYTES:
                out = OUT
                code.append(("BARRIER", {}))
    dump = everything | dict(dram_addr=DUMP)
    model.store(dump)
    return [*code, ("BARRIER", {}), ("STORE", dump), ("END", {})], registers
