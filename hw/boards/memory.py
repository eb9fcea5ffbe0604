"""The accelerator's memory on an FPGA: block RAM behind an AXI4 slave, with a second way in for the host link."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from ..dma.axi import AXI4, PAGE_BYTES, Response
from ..memory.wrapper import OnChipMemory
from .protocol import MEMORY_BASE

__all__ = ["ByteAccess", "BlockMemory"]

#: Address bits that tell this memory from everything else.
_OFFSET_BITS = MEMORY_BASE.bit_length() - 1


class ByteAccess(Signature):
    """Access to a memory, a byte at a time, master side. A transfer takes place in a cycle with ``valid`` and ``ready``;
    ``read_data`` is there in the cycle after a read's."""

    def __init__(self, memory_bytes):
        super().__init__({"valid": Out(1), "ready": In(1), "write": Out(1), "address": Out(range(memory_bytes)),
                          "write_data": Out(8), "read_data": In(8)})


class BlockMemory(wiring.Component):
    """``memory_bytes`` (a multiple of 4096) from `protocol.MEMORY_BASE` on.

    Ports: ``axi``, slave for incrementing bursts of full beats that stay within a page, as the accelerator sends them: one
    burst at a time in each direction, a beat a cycle, `DECERR` outside; ``host``: `ByteAccess`, which goes before the bus.
    """

    def __init__(self, config, memory_bytes):
        if memory_bytes % PAGE_BYTES or not PAGE_BYTES <= memory_bytes <= MEMORY_BASE:
            raise ValueError(f"memory_bytes must be a multiple of {PAGE_BYTES}, not {memory_bytes}")
        self.config, self.memory_bytes = config, memory_bytes
        super().__init__({"axi": In(AXI4(config)), "host": In(ByteAccess(memory_bytes))})

    def elaborate(self, platform):
        m = Module()
        axi, host, beat = self.axi, self.host, self.config.data_bytes
        words = self.memory_bytes // beat
        shift = (beat - 1).bit_length()
        m.submodules.memory = memory = OnChipMemory(8 * beat, words, 8)
        host_word = host.address[shift:]

        def outside(address):
            return ((address >> _OFFSET_BITS) != MEMORY_BASE >> _OFFSET_BITS) | (address[:_OFFSET_BITS] >= self.memory_bytes)

        # Reads. What the memory shows belongs to the bus while rvalid, so nobody reads until the beat has been taken.
        word, left, reading, read_error, free = Signal(range(words)), Signal(8), Signal(), Signal(), Signal()
        host_reads = Signal()
        m.d.comb += [
            free.eq(~axi.rvalid | axi.rready), host_reads.eq(host.valid & ~host.write & free),
            axi.rid.eq(0), axi.arready.eq(~reading),
            memory.read_enable.eq(free & (reading | host_reads)),
            memory.read_address.eq(word), axi.rdata.eq(memory.read_data),
        ]
        with m.If(host_reads):
            m.d.comb += memory.read_address.eq(host_word)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [reading.eq(1), word.eq(axi.araddr[shift:]), left.eq(axi.arlen), read_error.eq(outside(axi.araddr))]
        with m.If(free):
            m.d.sync += axi.rvalid.eq(reading & ~host_reads)
            with m.If(reading & ~host_reads):
                m.d.sync += [word.eq(word + 1), left.eq(left - 1), reading.eq(left != 0), axi.rlast.eq(left == 0)]
                with m.If(read_error):
                    m.d.sync += axi.rresp.eq(Response.DECERR)
                with m.Else():
                    m.d.sync += axi.rresp.eq(Response.OKAY)

        # Which byte of a word the host asked for, in the cycle in which it sees it.
        place = Signal(max(1, shift))
        m.d.sync += place.eq(host.address[:shift])
        m.d.comb += host.read_data.eq(memory.read_data.word_select(place, 8))

        # Writes: the address first, then its beats, then the response.
        write_word, writing, write_error, host_writes = Signal(range(words)), Signal(), Signal(), Signal()
        accepted = Signal()
        m.d.comb += [
            host_writes.eq(host.valid & host.write),
            host.ready.eq(host_writes | host_reads),
            axi.bid.eq(0), axi.awready.eq(~writing & ~axi.bvalid), axi.wready.eq(writing & ~host_writes),
            accepted.eq(axi.wvalid & axi.wready),
            memory.write_enable.eq(host_writes | accepted & ~write_error),
            memory.write_address.eq(write_word), memory.write_data.eq(axi.wdata), memory.write_mask.eq(axi.wstrb),
        ]
        with m.If(host_writes):
            m.d.comb += [memory.write_address.eq(host_word), memory.write_data.eq(host.write_data.replicate(beat)),
                         memory.write_mask.eq(1 << host.address[:shift])]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [writing.eq(1), write_word.eq(axi.awaddr[shift:]), write_error.eq(outside(axi.awaddr))]
        with m.If(accepted):
            m.d.sync += write_word.eq(write_word + 1)
            with m.If(axi.wlast):
                m.d.sync += [writing.eq(0), axi.bvalid.eq(1)]
                with m.If(write_error):
                    m.d.sync += axi.bresp.eq(Response.DECERR)
                with m.Else():
                    m.d.sync += axi.bresp.eq(Response.OKAY)
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        return m
