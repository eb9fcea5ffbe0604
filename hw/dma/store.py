"""Store engine: scratchpad to memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import (PC_BITS, READ_LATENCY, InstructionStream, ScratchpadRead, ThreadState, ThreadStatus,
                          TokenSignal, TokenWait)
from ..memory.queue import MemoryQueue
from ..streams import Queue, SkidBuffer
from .axi import BurstRequest
from .front import DmaFrontEnd
from .lines import LineWalker, job_layout, line_layout, slot_bits
from .splitter import SEGMENT, BurstSplitter

__all__ = ["StoreEngine", "LineReader", "ResponseTokens"]

#: Lines read ahead of the bus: the read latency and some cycles in which other streams hold the bank.
_LINES_AHEAD = 8


class LineReader(wiring.Component):
    """Reads lines and cuts them into beats.

    Ports: ``lines`` stream of `line_layout`; ``released``: one more outer iteration may be read; ``scratchpad``; ``beats`` stream
    of data; ``idle``; ``stalled``: a read waits for its bank. One line in a cycle, one beat in a cycle.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "lines": In(stream.Signature(line_layout(config))), "released": In(1),
            "scratchpad": Out(ScratchpadRead(config)), "beats": Out(stream.Signature(8 * config.data_bytes)),
            "idle": Out(1), "stalled": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, line, port = self.config, self.lines.payload, self.scratchpad
        slots = slot_bits(config)
        span = data.StructLayout({"first": slots, "last": slots, "single": 1})
        m.submodules.queue = queue = MemoryQueue(
            data.StructLayout({"data": 8 * config.line_bytes, "span": span}), _LINES_AHEAD)

        # A line is read when its iteration has been released and the queue will have room for it. The bank's answer is late:
        # it decides only when the next request comes to the port.
        iterations = Signal(10)                         # not used, of those released before the cycle before this one
        released_before = Signal()
        released = Signal()                             # there are some, of this cycle's too
        reserved = Signal(range(_LINES_AHEAD + 1))      # all ahead, a power of two, is the only number with its highest bit
        allowed, goes, used, others = Signal(), Signal(), Signal(), Signal()
        asked, taken = Signal(), Signal()
        m.submodules.requests = requests = SkidBuffer(data.StructLayout({"line": port.line.shape(), "span": span}))
        request = requests.o.payload
        m.d.comb += [
            allowed.eq(released & ~reserved[-1]),
            requests.i.valid.eq(self.lines.valid & allowed),
            requests.i.payload.line.eq(line.line),
            *(getattr(requests.i.payload.span, name).eq(getattr(line, name)) for name in span.members),
            self.lines.ready.eq(requests.i.ready & allowed),
            goes.eq(requests.i.valid & requests.i.ready),
            used.eq(goes & line.ends_iteration),
            others.eq(Mux(released_before, iterations >= 1, iterations >= 2)),  # than the one that ends now
            port.valid.eq(requests.o.valid), requests.o.ready.eq(port.ready),
            port.line.eq(request.line),
            asked.eq(port.valid & port.ready),
            taken.eq(queue.o.valid & queue.o.ready),
            self.stalled.eq(port.valid & ~port.ready),
        ]
        # Release, behind the counter of tokens, comes last: it is counted a cycle later.
        m.d.sync += [released_before.eq(self.released), released.eq(self.released | (released & (~used | others)))]
        with m.If(released_before != used):
            m.d.sync += iterations.eq(Mux(released_before, iterations + 1, iterations - 1))
        with m.If(goes != taken):
            m.d.sync += reserved.eq(Mux(taken, reserved - 1, reserved + 1))

        # The line's span travels along with the read.
        arriving, spans, changes = asked, request.span, port.valid
        for stage in range(READ_LATENCY):
            next_arriving, next_spans = Signal(name=f"arriving_{stage}"), Signal(span, name=f"span_{stage}")
            m.d.sync += next_arriving.eq(arriving)
            with m.If(changes):
                m.d.sync += next_spans.eq(spans)
            arriving, spans, changes = next_arriving, next_spans, next_arriving
        m.d.comb += [
            queue.i.valid.eq(arriving),
            queue.i.payload.data.eq(port.data),
            queue.i.payload.span.eq(spans),
        ]

        slot = Signal(slots)
        next_slot = Signal(slots)
        inside = Signal()
        moved = Signal()
        next_completes = Signal(reset_less=True)
        completes = Signal()
        m.d.comb += [
            slot.eq(Mux(inside, next_slot, queue.o.payload.span.first)),
            completes.eq(Mux(inside, next_completes, queue.o.payload.span.single)),
            self.beats.valid.eq(queue.o.valid),
            self.beats.payload.eq(queue.o.payload.data.word_select(slot, 8 * config.data_bytes)),
            moved.eq(self.beats.valid & self.beats.ready),
            queue.o.ready.eq(self.beats.ready & completes),
            self.idle.eq((reserved == 0) & ~released),
        ]
        with m.If(moved):
            m.d.sync += [inside.eq(~completes), next_slot.eq(slot + 1),
                         next_completes.eq(slot + 1 == queue.o.payload.span.last)]
        return m


class ResponseTokens(wiring.Component):
    """Adds the tokens of bursts and SYNCs in order, each when every write response before it has come.

    Ports: ``i`` stream of `layout`; ``response`` of the write master; ``signal``; ``idle``; ``error``, ``error_pc``.
    """

    #: What is known of a burst or SYNC that has been issued; ``nothing``: the SYNC adds no tokens.
    layout = data.StructLayout({"sync": 1, "nothing": 1, "semaphore": isa.SEMAPHORE_BITS, "count": isa.TOKEN_BITS,
                                "pc": PC_BITS})

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(self.layout)), "response": In(stream.Signature(1)), "signal": Out(TokenSignal()),
            "idle": Out(1), "error": Out(1), "error_pc": Out(PC_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(self.layout, self.config.bursts_in_flight)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        head = queue.o.payload
        number = Signal(isa.TOKEN_BITS, init=1)     # of the SYNC's token that is added now
        added = Signal()        # the SYNC's tokens are
        answered = Signal()
        m.d.comb += [
            self.response.ready.eq(queue.o.valid & ~head.sync),
            answered.eq(self.response.valid & self.response.ready),
            self.signal.id.eq(head.semaphore),
            self.idle.eq(~queue.o.valid),
            self.error.eq(answered & self.response.payload),
            self.error_pc.eq(head.pc),
        ]
        with m.If(queue.o.valid & head.sync):
            m.d.comb += [
                self.signal.valid.eq(~queue.o.ready),
                queue.o.ready.eq(added | head.nothing),
            ]
            m.d.sync += [number.eq(Mux(queue.o.ready, 1, number + 1)), added.eq((number == head.count) & ~queue.o.ready)]
        with m.Else():
            m.d.comb += [self.signal.valid.eq(answered), queue.o.ready.eq(answered)]
        return m


class StoreEngine(wiring.Component):
    """STORE_SYNC, STORE.

    Ports: ``i`` instructions; ``request``, ``beats``, ``response``: to and from the write master; ``scratchpad``; ``wait``,
    ``signal`` tokens; ``status``; ``error``, ``error_pc``: an error response came for that instruction.

    Addresses are requested ahead of data, tokens follow write responses; one beat in a cycle.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(InstructionStream()), "request": Out(BurstRequest()),
            "beats": Out(stream.Signature(8 * config.data_bytes)), "response": In(stream.Signature(1)),
            "scratchpad": Out(ScratchpadRead(config)), "wait": Out(TokenWait()), "signal": Out(TokenSignal()),
            "status": Out(ThreadStatus()), "error": Out(1), "error_pc": Out(PC_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.front = front = DmaFrontEnd(config, gather=False)
        # Whether a burst can go is known late, and much in the front end hangs on it. Addresses are ahead of data all the same.
        m.submodules.segments = segments = SkidBuffer(SEGMENT)
        m.submodules.splitter = splitter = BurstSplitter(config)
        m.submodules.jobs = jobs = Queue(job_layout(config), 4, ("start", "run_beats"))
        m.submodules.walker = walker = LineWalker(config)
        m.submodules.reader = reader = LineReader(config)
        m.submodules.tokens = tokens = ResponseTokens(config)

        wiring.connect(m, wiring.flipped(self.i), front.i)
        wiring.connect(m, front.wait, wiring.flipped(self.wait))
        wiring.connect(m, front.segments, segments.i)
        wiring.connect(m, segments.o, splitter.i)
        wiring.connect(m, front.jobs, jobs.i)
        wiring.connect(m, jobs.o, walker.i)
        wiring.connect(m, walker.o, reader.lines)
        wiring.connect(m, reader.scratchpad, wiring.flipped(self.scratchpad))
        wiring.connect(m, reader.beats, wiring.flipped(self.beats))
        wiring.connect(m, wiring.flipped(self.response), tokens.response)
        wiring.connect(m, tokens.signal, wiring.flipped(self.signal))

        # A burst goes to the bus and to the token queue in the same cycle, a SYNC to the queue only.
        burst = splitter.o.payload
        m.d.comb += [
            reader.released.eq(front.released),
            self.request.valid.eq(splitter.o.valid & ~burst.sync & tokens.i.ready),
            self.request.payload.address.eq(burst.address),
            self.request.payload.length.eq(burst.length),
            tokens.i.valid.eq(splitter.o.valid & (burst.sync | self.request.ready)),
            tokens.i.payload.sync.eq(burst.sync),
            tokens.i.payload.nothing.eq((burst.semaphore == 0) | (burst.count == 0)),
            tokens.i.payload.semaphore.eq(burst.semaphore),
            tokens.i.payload.count.eq(burst.count),
            tokens.i.payload.pc.eq(burst.pc),
            splitter.o.ready.eq(tokens.i.ready & (burst.sync | self.request.ready)),
        ]

        moved = Signal()
        m.d.comb += [
            moved.eq(self.beats.valid & self.beats.ready),
            self.status.idle.eq(front.idle & ~segments.o.valid & splitter.idle & ~jobs.o.valid & walker.idle & reader.idle
                                & tokens.idle),
            self.status.semaphore.eq(front.wait.id),
            self.status.pc.eq(Mux(tokens.idle, front.pc, tokens.error_pc)),
            self.error.eq(tokens.error),
            self.error_pc.eq(tokens.error_pc),
        ]
        with m.If(self.status.idle):
            m.d.comb += self.status.state.eq(ThreadState.IDLE)
        with m.Elif(moved | self.signal.valid):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)
        with m.Elif(front.waiting & tokens.idle & ~segments.o.valid & splitter.idle & reader.idle):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_TOKEN)
        with m.Elif(~self.beats.valid & ~reader.idle & ~reader.stalled):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)      # a read is on its way
        with m.Else():
            m.d.comb += self.status.state.eq(ThreadState.WAIT_MEMORY)
        return m
