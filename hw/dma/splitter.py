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
    ``o.ready`` goes through to ``i.ready``: it comes from registers of what takes the bursts.
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

        def fit(beats, bits, cut, offset):
            """Whether ``beats`` are at most 2 ** bits, less ``offset`` if a page cuts them (``cut``). Both are known before one
            is chosen, and the many high digits apart."""
            low = beats[:bits + 1]

            def few(number):
                return (number[bits + 1:] == 0) & (~number[bits] | (number[:bits] == 0))
            return (beats[bits + 1:] == 0) & Mux(cut, few(low + offset), few(low))

        # Beats up to the page or the longest burst, and whether they are all: known with the address, since what comes next
        # depends on it. After a burst of full length the offset in a block stays, after another one a page begins.
        room = Signal(block + 1, reset_less=True)
        last = Signal(reset_less=True)
        first, first_room, next_room = self.i.payload, Signal(block + 1), Signal(block + 1)
        first_beat = first.address[shift:]
        first_in_last_block = first_beat[block:page].all()
        in_last_block = (beat[block:page] + 1)[:page - block].all()     # will be; a page has several blocks
        m.d.comb += [
            first_room.eq(Mux(first_in_last_block, MAX_BURST_BEATS - first_beat[:block], MAX_BURST_BEATS)),
            next_room.eq(Mux(in_last_block, MAX_BURST_BEATS - beat[:block], MAX_BURST_BEATS)),
            self.idle.eq(~valid),
            self.i.ready.eq(~valid | (self.o.ready & last)),
            self.o.valid.eq(valid),
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
                m.d.sync += [
                    segment.eq(first), room.eq(first_room),
                    last.eq(fit(first.beats, block, first_in_last_block, first_beat[:block]) | first.sync),
                ]
        with m.Elif(self.o.ready):
            m.d.sync += [
                segment.address.eq(segment.address + (room << shift)), segment.beats.eq(segment.beats - room),
                room.eq(next_room),
                # This burst and the next one are enough: of two, at most one lies in the last block of a page.
                last.eq(fit(segment.beats, block + 1, beat[block + 1:page].all(), beat[:block])),
            ]
        return m
