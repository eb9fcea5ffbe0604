"""Memories, tokens, the dispatcher, and whose turn it is."""

import random
from types import SimpleNamespace

from weft.hw import isa

from .arithmetic import clamp, sign


class Machine:
    """What the threads share, and the dispatcher."""

    def __init__(self, image, inputs, seed=0):
        self.c = image.config
        self.image = image
        self.random = random.Random(seed)
        self.memory = bytearray(image.memory_bytes)
        self.memory[:image.constant.size] = bytes(image.constant)
        for buffer in image.buffers:
            if buffer.kind == "input":
                self.memory[buffer.offset:buffer.offset + buffer.bytes] = bytes(inputs[buffer.name])
        self.spm = bytearray(self.c.scratchpad_words * self.c.word_bytes)
        self.acc = [[0] * self.c.cols for _ in range(self.c.accumulator_words)]
        self.rows = [SimpleNamespace(m=None, l=0, d=0, mr=0, s=1) for _ in range(self.c.state_rows)]
        self.tokens = [0] * 32
        self.tables = [None, None]
        self.indices = {}
        self.log = []
        self.queues = {e: [] for e in (1, 2, 3, 4)}
        self.loader_queue = []
        self.unfinished = 0
        self.loaded = self.streamed = 0
        self.tiles = []
        self.syncs = 0

    def run(self):
        threads = [self.dispatch(), self.load(), self.weights(), self.stream(), self.vector(), self.store()]
        dispatcher = threads[0]
        idle = 0
        while idle < 20000:
            thread = self.random.choice(threads)
            for _ in range(self.random.choice((1, 3, 200))):
                idle += 1
                try:
                    if next(thread):
                        idle = 0
                except StopIteration:
                    assert thread is dispatcher
                    return
        raise AssertionError("the reference came to rest")

    def dispatch(self):
        code, pc, r = bytes(self.image.code), 0, [0] * 16
        for n, v in self.image.registers.items():
            r[n] = v
        while True:
            instruction, values = isa.decode(code[32 * pc:32 * pc + 32])
            f, name = SimpleNamespace(**values), instruction.mnemonic
            here, pc = pc, pc + 1
            if name in ("END", "BARRIER"):
                while self.unfinished:
                    yield 0
                if name == "END":
                    return
            elif name == "CALC":
                if f.rd:
                    r[f.rd] = sign((r[f.ra] << f.left) + r[f.rb] + f.imm, 32) >> f.right
            elif name == "BRANCH":
                a, b = r[f.ra], r[f.rb]
                if {0: a == b, 1: a != b, 2: a < b, 3: a >= b}[f.cond]:
                    pc += f.offset
            else:
                for field, register in (("dram_addr", "dram_reg"), ("key_start", "key_reg"), ("query_start", "query_reg")):
                    if hasattr(f, register):
                        setattr(f, field, getattr(f, field) + r[getattr(f, register)])
                for field, register in (("w_limit", "w_limit_reg"), ("key_limit", "limit_reg")):
                    if hasattr(f, register):
                        setattr(f, field, clamp(getattr(f, field) + r[getattr(f, register)], 0, 65535))
                f.name, f.pc = name, here
                engine = instruction.opcode >> 4
                self.queues[engine].append(f)
                if engine == 2:
                    self.loader_queue.append(f)
                self.unfinished += 1
            yield 1

    def wait(self, number, count=1):
        for _ in range(count if number else 0):
            while not self.tokens[number]:
                yield 0
            self.tokens[number] -= 1

    def signal(self, number, count=1):
        if number:
            self.tokens[number] += count

    def take(self, queue):
        while not queue:
            yield 0
        return queue.pop(0)

    # Words.

    def word(self, address):
        w = self.c.word_bytes
        return self.spm[address * w:(address + 1) * w]

    def element(self, kind, base, row_stride, panel_stride, row, channel):
        """One element of a scratchpad operand."""
        panel, i = divmod(channel, self.c.panel)
        address = (base + panel * panel_stride + row * row_stride) * self.c.word_bytes
        if kind == 2:
            return int.from_bytes(self.spm[address + 2 * i:address + 2 * i + 2], "little", signed=True)
        return sign(self.spm[address + i], 8) if kind == 0 else self.spm[address + i]

    def put(self, kind, base, row_stride, panel_stride, row, channel, value):
        panel, i = divmod(channel, self.c.panel)
        address = (base + panel * panel_stride + row * row_stride) * self.c.word_bytes
        if kind == 2:
            self.spm[address + 2 * i:address + 2 * i + 2] = (value & 0xFFFF).to_bytes(2, "little")
        else:
            self.spm[address + i] = value & 0xFF

    def record(self, param_base, channel, dst_type):
        c = self.c
        group, lane = divmod(channel, c.vector_lanes)
        at = (param_base + group * c.param_group_words) * c.word_bytes + 8 * lane
        bits = int.from_bytes(self.spm[at:at + 8], "little")
        zero = bits >> 56 & 255
        return sign(bits, 32), sign(bits >> 32, 18), bits >> 50 & 63, zero if dst_type == 1 else sign(zero, 8)
