"""Segments of memory into AXI4 bursts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS
from .axi import MAX_BURST_BEATS, PAGE_BYTES, RELATIVE_BITS

__all__ = ["BEATS_BITS", "SEGMENT", "BURST", "BurstSplitter"]

#: Width of a number of beats: run_words * inner_count, at most 32 beats to a word.
BEATS_BITS = 36

_MARK = {
    "sync": 1,                          #: no memory at all: tokens only
    "semaphore": isa.SEMAPHORE_BITS,    #: counter to add to when the segment has been written; 0: none
    "count": isa.TOKEN_BITS,            #: tokens to add
    "pc": PC_BITS,
}
#: Contiguous range of memory: byte address, beats (at least 1), and what follows it.
SEGMENT = data.StructLayout({"address": RELATIVE_BITS, "beats": BEATS_BITS} | _MARK)
#: One burst: byte address, beats - 1; the mark of the segment, its ``semaphore`` only in its last burst.
BURST = data.StructLayout({"address": RELATIVE_BITS, "length": range(MAX_BURST_BEATS)} | _MARK)


class BurstSplitter(wiring.Component):
    """Cuts segments at pages of 4 KiB and at 16 beats.

    Ports: ``i`` stream of `SEGMENT`, ``o`` stream of `BURST`, ``idle``. One burst in a cycle, no gap between segments.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"i": In(stream.Signature(SEGMENT)), "o": Out(stream.Signature(BURST)), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        shift = (self.config.data_bytes - 1).bit_length()
        block = MAX_BURST_BEATS.bit_length() - 1            # bits of a beat's number in an aligned block
        page = (PAGE_BYTES // self.config.data_bytes).bit_length() - 1

        valid = Signal()
        segment = Signal(SEGMENT, reset_less=True)
        beat = segment.address[shift:]

        def ends(beats, room):
            """Whether a burst of up to ``room`` beats is enough."""
            return (beats[block + 1:] == 0) & (beats[:block + 1] <= room)

        # Beats up to the page or the longest burst, and whether they are all: known with the address, since what comes next
        # depends on it. After a burst of full length the offset in a block stays, after another one a page begins.
        room = Signal(block + 1, reset_less=True)
        last = Signal(reset_less=True)
        first, first_room, next_room = self.i.payload, Signal(block + 1), Signal(block + 1)
        first_beat = first.address[shift:]
        in_last_block = (beat[block:page] + 1)[:page - block].all()     # will be; a page has several blocks
        m.d.comb += [
            first_room.eq(Mux(first_beat[block:page].all(), MAX_BURST_BEATS - first_beat[:block], MAX_BURST_BEATS)),
            next_room.eq(Mux(in_last_block, MAX_BURST_BEATS - beat[:block], MAX_BURST_BEATS)),
            self.idle.eq(~valid & ~self.o.valid),
        ]
        step = Signal()
        m.d.comb += [
            step.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~valid | (step & last)),
        ]
        with m.If(step):
            m.d.sync += self.o.valid.eq(valid)
        with m.If(step & valid):
            m.d.sync += [
                self.o.payload.address.eq(segment.address),
                self.o.payload.length.eq(Mux(last, segment.beats, room) - 1),
                self.o.payload.sync.eq(segment.sync),
                self.o.payload.semaphore.eq(Mux(last, segment.semaphore, 0)),
                self.o.payload.count.eq(segment.count),
                self.o.payload.pc.eq(segment.pc),
            ]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(~valid | last):
            with m.If(self.i.ready):
                m.d.sync += [segment.eq(first), room.eq(first_room), last.eq(ends(first.beats, first_room) | first.sync)]
        with m.Elif(step):
            beats = Signal.like(segment.beats)
            m.d.comb += beats.eq(segment.beats - room)
            m.d.sync += [
                segment.address.eq(segment.address + (room << shift)), segment.beats.eq(beats),
                room.eq(next_room), last.eq(ends(beats, next_room)),
            ]
        return m
