"""Load engine: memory to scratchpad and index memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import (PC_BITS, InstructionStream, ScratchpadWrite, ThreadState, ThreadStatus, TokenSignal,
                          TokenWait, line_write_layout)
from ..memory.queue import MemoryQueue
from ..memory.wrapper import OnChipMemory
from ..streams import SkidBuffer
from .axi import BeatStream, BurstRequest
from .front import DmaFrontEnd
from .lines import JobKind, LineWalker, beat_address_bits, job_layout, line_layout, slot_bits
from .splitter import BurstSplitter

__all__ = ["LoadEngine", "IndexMemory", "LineAssembler"]


class IndexMemory(wiring.Component):
    """Row numbers for GATHER, written a beat at a time.

    Ports: ``row`` follows ``entry`` by one cycle; ``write``: ``data`` is the list's beat number ``beat``.
    """

    def __init__(self, config):
        self.config = config
        self.per_beat = config.data_bytes // 4
        self.depth = max(2, config.index_entries // self.per_beat)
        super().__init__({
            "entry": In((config.index_entries - 1).bit_length()), "row": Out(32),
            "write": In(1), "beat": In(range(self.depth)), "data": In(8 * config.data_bytes),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.entries = entries = OnChipMemory(8 * self.config.data_bytes, self.depth)
        part_bits = (self.per_beat - 1).bit_length()
        part = Signal(part_bits)
        m.d.comb += [
            entries.write_address.eq(self.beat), entries.write_data.eq(self.data), entries.write_enable.eq(self.write),
            entries.write_mask.eq(1),
            entries.read_address.eq(self.entry[part_bits:]), entries.read_enable.eq(1),
            self.row.eq(entries.read_data.word_select(part, 32)),
        ]
        m.d.sync += part.eq(self.entry[:part_bits])
        return m


class LineAssembler(wiring.Component):
    """Puts beats together to lines, so that a line costs one write however narrow the bus is.

    Ports: ``lines`` stream of `line_layout`; ``beats``; ``scratchpad``; ``signal`` tokens; ``index_write``, ``index_beat``: the
    beat at ``beats`` goes to the index memory; ``index_done``: an INDEX has ended; ``moved``: a beat was taken; ``idle``.
    One beat in a cycle, one cycle between bus and scratchpad.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "lines": In(stream.Signature(line_layout(config))), "beats": In(BeatStream(config)),
            "scratchpad": Out(ScratchpadWrite(config)), "signal": Out(TokenSignal()),
            "index_write": Out(1), "index_beat": Out(beat_address_bits(config)), "index_done": Out(1),
            "moved": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, line, beat, port = self.config, self.lines.payload, self.beats.payload, self.scratchpad
        per_line = config.line_bytes // config.data_bytes

        # Position of the next beat in the line.
        slot = Signal(slot_bits(config))
        next_slot = Signal(slot_bits(config))
        inside = Signal()
        next_completes = Signal(reset_less=True)
        completes = Signal()
        held = [Signal(8 * config.data_bytes, name=f"held_{n}") for n in range(per_line - 1)]
        # Whether a line can go to the port comes from a register: the port's answer is late, and behind this are the bus's beats.
        m.submodules.writes = writes = SkidBuffer(data.StructLayout({
            **line_write_layout(config).members, "semaphore": isa.SEMAPHORE_BITS}))
        write, out = writes.i.payload, writes.o.payload
        goes = Signal()     # the beat does not complete a line, or there is room for it
        m.d.comb += [
            slot.eq(Mux(inside, next_slot, line.first)),
            completes.eq(Mux(inside, next_completes, line.single)),
            goes.eq((line.kind != JobKind.LINES) | ~completes | writes.i.ready),
            self.beats.ready.eq(self.lines.valid & (line.kind != JobKind.SYNC) & goes),
            self.moved.eq(self.beats.valid & self.beats.ready),
            writes.i.valid.eq(self.lines.valid & self.beats.valid & completes & (line.kind == JobKind.LINES)),
            port.valid.eq(writes.o.valid), writes.o.ready.eq(port.ready),
            port.line.eq(out.line), port.data.eq(out.data), port.mask.eq(out.mask),
            self.signal.id.eq(out.semaphore),
            self.signal.valid.eq(port.valid & port.ready),
            self.idle.eq(~port.valid),
        ]
        # A SYNC adds its tokens when everything before it is written.
        number = Signal(isa.TOKEN_BITS, init=1)     # of the token that is added now
        added = Signal()                            # the SYNC's tokens are
        m.d.comb += self.lines.ready.eq(self.beats.valid & completes & goes)
        with m.Switch(line.kind):
            with m.Case(JobKind.INDEX):
                arrives = self.lines.valid & self.beats.valid
                m.d.comb += [self.index_write.eq(arrives), self.index_done.eq(arrives & completes & line.ends_job)]
            with m.Case(JobKind.SYNC):
                m.d.comb += self.lines.ready.eq(0)
                with m.If(self.lines.valid & ~port.valid):
                    ends = added | (line.count == 0) | (line.semaphore == 0)
                    m.d.comb += [self.signal.id.eq(line.semaphore), self.signal.valid.eq(~ends), self.lines.ready.eq(ends)]
                    m.d.sync += [number.eq(Mux(ends, 1, number + 1)), added.eq((number == line.count) & ~ends)]

        if per_line > 1:
            m.d.comb += self.index_beat.eq((line.line << slot_bits(config)) | slot)
        else:
            m.d.comb += self.index_beat.eq(line.line)
        with m.If(self.moved):
            m.d.sync += [inside.eq(~completes), next_slot.eq(slot + 1), next_completes.eq(slot + 1 == line.last)]
            for n, part in enumerate(held):
                with m.If(slot == n):
                    m.d.sync += part.eq(beat.data)
        m.d.comb += [write.line.eq(line.line), write.semaphore.eq(line.semaphore)]
        for n in range(per_line):
            m.d.comb += [
                write.data.word_select(n, 8 * config.data_bytes).eq(
                    beat.data if n == per_line - 1 else Mux(slot == n, beat.data, held[n])),
                write.mask.word_select(n, config.data_bytes).eq(
                    ((line.first <= n) & (n <= line.last)).replicate(config.data_bytes)),
            ]
        return m


class LoadEngine(wiring.Component):
    """LOAD_SYNC, LOAD, INDEX, GATHER.

    Ports: ``i`` instructions; ``request``, ``beats``: to and from the read master; ``scratchpad``; ``wait``, ``signal`` tokens;
    ``status``; ``error``, ``error_pc``: a beat came with an error response, for that instruction.

    The front end requests data ahead of the back end across runs, iterations and instructions (as many as bursts may be in
    flight); the back end takes one beat in a cycle, without a gap anywhere.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(InstructionStream()), "request": Out(BurstRequest()), "beats": In(BeatStream(config)),
            "scratchpad": Out(ScratchpadWrite(config)), "wait": Out(TokenWait()), "signal": Out(TokenSignal()),
            "status": Out(ThreadStatus()), "error": Out(1), "error_pc": Out(PC_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.front = front = DmaFrontEnd(config, gather=True)
        m.submodules.splitter = splitter = BurstSplitter(config)
        m.submodules.jobs = jobs = MemoryQueue(job_layout(config), config.bursts_in_flight)
        m.submodules.walker = walker = LineWalker(config)
        m.submodules.lines = lines = SkidBuffer(line_layout(config))
        m.submodules.assembler = assembler = LineAssembler(config)
        m.submodules.index = index = IndexMemory(config)

        wiring.connect(m, wiring.flipped(self.i), front.i)
        wiring.connect(m, front.wait, wiring.flipped(self.wait))
        wiring.connect(m, front.segments, splitter.i)
        wiring.connect(m, front.jobs, jobs.i)
        wiring.connect(m, jobs.o, walker.i)
        wiring.connect(m, walker.o, lines.i)
        wiring.connect(m, lines.o, assembler.lines)
        wiring.connect(m, wiring.flipped(self.beats), assembler.beats)
        wiring.connect(m, assembler.scratchpad, wiring.flipped(self.scratchpad))
        wiring.connect(m, assembler.signal, wiring.flipped(self.signal))
        m.d.comb += [
            self.request.valid.eq(splitter.o.valid),
            self.request.payload.address.eq(splitter.o.payload.address),
            self.request.payload.length.eq(splitter.o.payload.length),
            splitter.o.ready.eq(self.request.ready),
            index.entry.eq(front.index.entry), front.index.row.eq(index.row),
            index.write.eq(assembler.index_write), index.beat.eq(assembler.index_beat),
            index.data.eq(self.beats.payload.data),
        ]

        # A GATHER waits until every INDEX before it is complete.
        pending = Signal(range(config.bursts_in_flight + 4))
        begins, done = jobs.i.valid & jobs.i.ready & (jobs.i.payload.kind == JobKind.INDEX), Signal()
        m.d.sync += done.eq(assembler.index_done)
        with m.If(begins != done):
            m.d.sync += pending.eq(Mux(begins, pending + 1, pending - 1))
        m.d.comb += front.index.ready.eq(pending == 0)

        in_flight = Signal(range(config.bursts_in_flight + 1))
        requested = self.request.valid & self.request.ready
        arrived = self.beats.valid & self.beats.ready & self.beats.payload.last
        with m.If(requested != arrived):
            m.d.sync += in_flight.eq(Mux(requested, in_flight + 1, in_flight - 1))

        working = Signal()      # the back end has something to do
        m.d.comb += [
            working.eq(jobs.o.valid | ~walker.idle | lines.o.valid | ~assembler.idle),
            self.status.idle.eq(front.idle & splitter.idle & ~working),
            self.status.semaphore.eq(front.wait.id),
            self.status.pc.eq(Mux(lines.o.valid, lines.o.payload.pc, front.pc)),
            # The beat may have to wait, its error need not.
            self.error.eq(lines.o.valid & (lines.o.payload.kind != JobKind.SYNC) & self.beats.valid & self.beats.payload.error),
            self.error_pc.eq(lines.o.payload.pc),
        ]
        with m.If(self.status.idle):
            m.d.comb += self.status.state.eq(ThreadState.IDLE)
        with m.Elif(assembler.moved | self.signal.valid):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)
        with m.Elif(front.waiting & (in_flight == 0) & splitter.idle & assembler.idle):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_TOKEN)
        with m.Else():
            m.d.comb += self.status.state.eq(ThreadState.WAIT_MEMORY)
        return m
