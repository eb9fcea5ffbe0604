"""Frames of the host link (`protocol`): from bytes of the line to a checked request, and from an answer to bytes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from ..memory.wrapper import OnChipMemory
from .protocol import CRC_BYTES, END, ESC, ESC_END, ESC_ESC, HEADER_BYTES, MAX_DATA

__all__ = ["FrameReceiver", "FrameSender", "HEADER"]

#: Fields in front of a request, in the order of their bytes.
HEADER = data.StructLayout({"sequence": 8, "command": 8, "address": 32, "length": 16})
_LONGEST = HEADER_BYTES + MAX_DATA + CRC_BYTES


class FrameReceiver(wiring.Component):
    """Collects the bytes of one request.

    Ports: ``valid``, ``data``, ``error``: bytes of the line, as `UartReceiver` gives them. ``done``: a request is here, and
    stays until ``clear``; what comes meanwhile is lost. With ``done``: ``header``; ``count``, bytes of the frame with
    its CRC, of which at most the longest frame's are kept; ``good``: not damaged. ``read_address``, ``read_data``: the request's
    data, a cycle later.
    """

    valid: In(1)
    data: In(8)
    error: In(1)
    done: Out(1)
    clear: In(1)
    header: Out(HEADER)
    count: Out(range(_LONGEST + 2))
    good: Out(1)
    read_address: In(range(MAX_DATA))
    read_data: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        m.submodules.buffer = buffer = OnChipMemory(8, MAX_DATA)
        m.d.comb += [buffer.read_enable.eq(1), buffer.read_address.eq(self.read_address), self.read_data.eq(buffer.read_data),
                     buffer.write_mask.eq(1)]

        escaped, damaged, lost = Signal(), Signal(), Signal()
        byte, take = Signal(8), Signal()
        m.d.comb += [byte.eq(self.data), crc.data.eq(byte), crc.valid.eq(take), buffer.write_data.eq(byte),
                     buffer.write_address.eq(self.count - HEADER_BYTES),
                     buffer.write_enable.eq(take & (self.count >= HEADER_BYTES) & (self.count < HEADER_BYTES + MAX_DATA)),
                     self.good.eq(crc.match_detected & ~damaged & ~escaped & (self.count <= _LONGEST))]
        begin = Signal()
        m.d.comb += crc.start.eq(begin)
        with m.If(begin):
            m.d.sync += [self.count.eq(0), escaped.eq(0), damaged.eq(0)]

        with m.If(self.done):
            m.d.comb += begin.eq(self.clear)
            with m.If(self.clear):
                m.d.sync += self.done.eq(0)
            # The rest of what came meanwhile is no frame.
            with m.If(self.valid):
                m.d.sync += lost.eq(~((self.data == END) & ~self.error))
        with m.Elif(self.valid):
            with m.If(self.error):
                m.d.sync += damaged.eq(1)
            with m.Elif(self.data == END):
                m.d.sync += lost.eq(0)
                m.d.comb += begin.eq(lost | (self.count == 0))
                m.d.sync += self.done.eq(~begin)
            with m.Elif((self.data == ESC) & ~escaped):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.comb += take.eq(1)
                m.d.sync += escaped.eq(0)
                with m.If(escaped):
                    m.d.comb += byte.eq(END)
                    with m.If(self.data == ESC_ESC):
                        m.d.comb += byte.eq(ESC)
                    with m.Elif(self.data != ESC_END):
                        m.d.sync += damaged.eq(1)
                with m.If(self.count <= _LONGEST):
                    m.d.sync += self.count.eq(self.count + 1)
                with m.If(self.count < HEADER_BYTES):
                    m.d.sync += self.header.eq(Cat(self.header.as_value()[8:], byte))
        return m


class FrameSender(wiring.Component):
    """Makes a frame of the bytes of an answer: `END`, the bytes with escapes, CRC, `END`.

    Ports: ``i``, stream of bytes with ``last``; ``o``, stream of bytes for the line.
    """

    i: In(stream.Signature(data.StructLayout({"byte": 8, "last": 1})))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        # The byte to be sent, whether its escape has been, and how many of the CRC are left.
        byte, escape_sent, left = Signal(8), Signal(), Signal(range(CRC_BYTES + 1))
        special, escaping, sent = Signal(), Signal(), Signal()
        m.d.comb += [special.eq((byte == END) | (byte == ESC)), escaping.eq(special & ~escape_sent),
                     sent.eq(self.o.valid & self.o.ready & ~escaping), self.o.payload.eq(byte)]
        with m.If(escaping):
            m.d.comb += self.o.payload.eq(ESC)
        with m.Elif(special):
            m.d.comb += self.o.payload.eq(Mux(byte == END, ESC_END, ESC_ESC))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += escape_sent.eq(escaping)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [crc.start.eq(1), self.o.valid.eq(self.i.valid), special.eq(0), self.o.payload.eq(END)]
                m.d.sync += [left.eq(CRC_BYTES), escape_sent.eq(0)]
                with m.If(self.i.valid & self.o.ready):
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [byte.eq(self.i.payload.byte), self.o.valid.eq(self.i.valid), self.i.ready.eq(sent),
                             crc.data.eq(byte), crc.valid.eq(sent)]
                with m.If(sent & self.i.payload.last):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [byte.eq(crc.crc.word_select((CRC_BYTES - left)[:2], 8)), self.o.valid.eq(1)]
                with m.If(sent):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.o.valid.eq(1), special.eq(0), self.o.payload.eq(END)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
