"""Instruction fetch."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..dma.axi import BeatStream, BurstRequest, RELATIVE_BITS
from ..interfaces import PC_BITS
from ..memory.queue import MemoryQueue

__all__ = ["FETCHED", "Fetch"]

#: An instruction as fetched: its word, its number, and whether a beat of it came with an error response.
FETCHED = data.StructLayout({"word": isa.INSTRUCTION_BITS, "pc": PC_BITS, "error": 1})


class Fetch(wiring.Component):
    """Reads instructions ahead of the dispatcher.

    Ports: ``program``: byte address of instruction 0, relative to the base, a multiple of 128; ``jump``: continue at number
    ``target``, whatever has been fetched is dropped (also the start); ``request``, ``beats``: to and from the read master (a
    jump may withdraw a request); ``o`` stream of `FETCHED`.

    Bursts of 8 to 16 beats, aligned to their size, until the buffer has no room for another one, and again when it has room
    for two, or half of it is free: what the load engine requests in between is not delayed. An instruction takes max(1, 32 /
    data_bytes) cycles.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "program": In(RELATIVE_BITS), "jump": In(1), "target": In(PC_BITS),
            "request": Out(BurstRequest()), "beats": In(BeatStream(config)), "o": Out(stream.Signature(FETCHED)),
        })

    def elaborate(self, platform):
        m = Module()
        data_bytes = self.config.data_bytes
        depth = self.config.fetch_ahead_bytes // data_bytes
        burst = max(8, min(16, 256 // data_bytes))
        shift = (data_bytes - 1).bit_length()

        beat_layout = data.StructLayout({"data": 8 * data_bytes, "error": 1})
        m.submodules.buffer = buffer = ResetInserter(self.jump)(MemoryQueue(beat_layout, depth))

        # Requests: the buffer has room for everything under way.
        active = Signal()
        address = Signal(RELATIVE_BITS)
        sent, came = Signal(range(depth + 1)), Signal(range(depth + 1))     # beats requested, beats that have come, modulo 2^n
        to_drop = Signal(range(depth + 1))          # of these, beats from before the last jump
        drops = Signal()                            # there are some
        reserved = Signal(range(2 * depth + 1))     # beats requested that had not left the buffer a cycle ago
        length = Signal(range(burst + 1))
        filling = Signal()
        asks = Signal()
        requested = Signal()
        arrived = Signal()
        popped = Signal()
        popped_before = Signal()
        dropped_before = Signal()
        length_before = Signal.like(length)         # requested a cycle ago, or 0
        m.d.comb += [
            length.eq(burst - (address >> shift)[:(burst - 1).bit_length()]),
            self.request.valid.eq(asks & ~self.jump),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(length - 1),
            requested.eq(asks & self.request.ready),    # but for a jump, which sets all that follows from it
            self.beats.ready.eq(1),
            arrived.eq(self.beats.valid),
            popped.eq(buffer.o.valid & buffer.o.ready),
        ]
        # Whether there is room comes from a register, so not in the two cycles after a request, which is not counted yet.
        # That the dispatcher takes an instruction, that a request is taken and that a beat comes are late, and counted later.
        m.d.sync += [
            popped_before.eq(popped), dropped_before.eq(arrived & drops),
            length_before.eq(Mux(requested, length, 0)),
            reserved.eq(reserved + length_before - popped_before - dropped_before),
            asks.eq(active & filling & (reserved <= depth - burst) & ~requested & (length_before == 0)),
        ]
        with m.If(reserved <= max(depth - 2 * burst, depth // 2)):
            m.d.sync += filling.eq(1)
        with m.Elif(reserved > depth - burst):
            m.d.sync += filling.eq(0)
        with m.If(requested):
            m.d.sync += [address.eq(address + (length << shift)), sent.eq(sent + length)]
        with m.If(arrived):
            m.d.sync += came.eq(came + 1)
        with m.If(arrived & drops):
            m.d.sync += [to_drop.eq(to_drop - 1), drops.eq(to_drop != 1)]
        m.d.comb += [
            buffer.i.valid.eq(arrived & ~drops),
            buffer.i.payload.data.eq(self.beats.payload.data),
            buffer.i.payload.error.eq(self.beats.payload.error),
        ]

        # Beats to instructions; the last beat of one waits in the buffer until the dispatcher takes all of it.
        pc = Signal(PC_BITS)
        beat = buffer.o.payload
        if data_bytes < isa.INSTRUCTION_BYTES:
            count = isa.INSTRUCTION_BYTES // data_bytes
            gathered = Signal(8 * (isa.INSTRUCTION_BYTES - data_bytes))
            failed = Signal()
            position = Signal(range(count))
            last = position == count - 1
            m.d.comb += [buffer.o.ready.eq(self.o.ready | ~last), self.o.valid.eq(buffer.o.valid & last)]
            word, error = Cat(gathered, beat.data), beat.error | failed
            with m.If(popped):
                m.d.sync += [
                    gathered.eq(word[8 * data_bytes:]),
                    failed.eq((beat.error | failed) & ~last), position.eq(position + 1),
                ]
            with m.If(self.jump):
                m.d.sync += [position.eq(0), failed.eq(0)]
        else:
            count = data_bytes // isa.INSTRUCTION_BYTES
            part = pc[:(count - 1).bit_length()]
            m.d.comb += [
                self.o.valid.eq(buffer.o.valid),
                buffer.o.ready.eq(self.o.ready & (part == count - 1)),
            ]
            word, error = beat.data.word_select(part, isa.INSTRUCTION_BITS), beat.error
        m.d.comb += [self.o.payload.word.eq(word), self.o.payload.pc.eq(pc), self.o.payload.error.eq(error)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += pc.eq(pc + 1)

        with m.If(self.jump):
            first = self.program + (self.target << 5)
            under_way = (sent - came)[:len(sent)]       # nothing is requested in this cycle
            left = (sent - came - arrived)[:len(sent)]
            m.d.sync += [
                active.eq(1), filling.eq(1), pc.eq(self.target), address.eq((first >> shift) << shift),
                sent.eq(sent), to_drop.eq(left), drops.eq((under_way != 0) & ~(arrived & (under_way == 1))), reserved.eq(left),
                popped_before.eq(0), dropped_before.eq(0), length_before.eq(0),
                asks.eq(under_way <= depth - burst),
            ]
        return m
