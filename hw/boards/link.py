"""The host link: carries out the requests of `protocol` that come over a serial line."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..control.axi_lite import AXI4Lite
from ..control.register_map import ADDRESS_BITS
from . import protocol
from .frames import FrameReceiver, FrameSender
from .memory import ByteAccess
from .protocol import CRC_BYTES, HEADER_BYTES, MAX_DATA, Space, Status
from .uart import UartReceiver, UartTransmitter

__all__ = ["HostLink"]


class HostLink(wiring.Component):
    """Serial line to memory and registers.

    Parameters: ``memory_bytes``; ``divisor``, clock cycles a bit of the line; ``clock_hz``, for the identity. Ports: ``rx``,
    ``tx``: the line; ``memory``: `ByteAccess`; ``registers``: AXI4-Lite master.
    """

    def __init__(self, memory_bytes, divisor, clock_hz):
        self.memory_bytes, self.divisor, self.clock_hz = memory_bytes, divisor, clock_hz
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "memory": Out(ByteAccess(memory_bytes)),
                          "registers": Out(AXI4Lite())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.requests = requests = FrameReceiver()
        m.submodules.answers = answers = FrameSender()
        wiring.connect(m, answers.o, transmitter.i)
        m.d.comb += [receiver.line.eq(self.rx), self.tx.eq(transmitter.line), requests.valid.eq(receiver.valid),
                     requests.data.eq(receiver.data), requests.error.eq(receiver.error)]

        header, memory, registers = requests.header, self.memory, self.registers
        write, space = header.command[0], header.command[1:]
        # Bytes of data done, and the next one's address.
        done, address = Signal(range(MAX_DATA + 1)), Signal(32)
        status, word = Signal(Status), Signal(32)
        # A write that was executed last, so that its repetition is not.
        executed, last_sequence = Signal(), Signal(8)
        has_data = Signal()

        identity = C(int.from_bytes(protocol.IDENTITY.pack(protocol.MAGIC, protocol.VERSION, self.memory_bytes, self.clock_hz),
                                    "little"), 8 * protocol.IDENTITY.size)
        limit = Signal(33)
        with m.Switch(space):
            for number, size in ((Space.MEMORY, self.memory_bytes), (Space.REGISTERS, 1 << ADDRESS_BITS),
                                 (Space.IDENTITY, protocol.IDENTITY.size)):
                with m.Case(number):
                    m.d.comb += limit.eq(size)
        words = space == Space.REGISTERS
        refused = Signal()
        m.d.comb += refused.eq(
            (header.address + header.length > limit) | (header.length > MAX_DATA)
            | words & Cat(header.address[:2], header.length[:2]).any()
            | write & (space == Space.IDENTITY)
            | (requests.count != HEADER_BYTES + CRC_BYTES + Mux(write, header.length, 0)))

        m.d.comb += [
            memory.address.eq(address), memory.write_data.eq(requests.read_data), requests.read_address.eq(done),
            registers.awaddr.eq(address), registers.araddr.eq(address), registers.awprot.eq(0), registers.arprot.eq(0),
            registers.wdata.eq(word), registers.wstrb.eq(0b1111),
        ]

        def answer(byte, last, next_state):
            """A byte of the answer, then on."""
            m.d.comb += [answers.i.valid.eq(1), answers.i.payload.byte.eq(byte), answers.i.payload.last.eq(last)]
            with m.If(answers.i.ready):
                m.next = next_state

        def advance(bytes_done):
            m.d.sync += [done.eq(done + bytes_done), address.eq(address + bytes_done)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [done.eq(0), address.eq(header.address), status.eq(Status.OK), has_data.eq(0)]
                with m.If(requests.done):
                    m.next = "SEQUENCE"
                    with m.If(~requests.good):
                        m.d.sync += status.eq(Status.CORRUPTED)
                    with m.Elif(refused):
                        m.d.sync += status.eq(Status.REFUSED)
                    with m.Else():
                        m.d.sync += [executed.eq(write), last_sequence.eq(header.sequence),
                                     has_data.eq(~write & (header.length != 0))]
                        with m.If(write & (header.length != 0) & ~(executed & (header.sequence == last_sequence))):
                            m.next = "FETCH"
            # Writes: a byte of the request's data is there in the cycle after `done` has counted it.
            with m.State("FETCH"):
                m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(words):
                    m.d.sync += [word.eq(Cat(word[8:], requests.read_data)), done.eq(done + 1)]
                    m.next = "FETCH"
                    with m.If(done[:2] == 3):
                        m.d.sync += [registers.awvalid.eq(1), registers.wvalid.eq(1)]
                        m.next = "WRITE REGISTER"
                with m.Else():
                    m.d.comb += [memory.valid.eq(1), memory.write.eq(1)]
                    with m.If(memory.ready):
                        advance(1)
                        m.next = "FETCH"
                        with m.If(done + 1 == header.length):
                            m.next = "SEQUENCE"
            with m.State("WRITE REGISTER"):
                m.d.comb += registers.bready.eq(1)
                with m.If(registers.awready):
                    m.d.sync += registers.awvalid.eq(0)
                with m.If(registers.wready):
                    m.d.sync += registers.wvalid.eq(0)
                with m.If(registers.bvalid):
                    m.d.sync += address.eq(address + 4)
                    m.next = "FETCH"
                    with m.If(done == header.length):
                        m.next = "SEQUENCE"
            with m.State("SEQUENCE"):
                answer(header.sequence, 0, "STATUS")
            with m.State("STATUS"):
                answer(status, ~has_data, "IDLE")
                m.d.comb += requests.clear.eq(answers.i.ready & ~has_data)
                with m.If(answers.i.ready & has_data):
                    m.next = "READ"
            with m.State("READ"):
                with m.Switch(space):
                    with m.Case(Space.MEMORY):
                        m.d.comb += memory.valid.eq(1)
                        with m.If(memory.ready):
                            m.next = "TAKE"
                    with m.Case(Space.REGISTERS):
                        m.d.sync += registers.arvalid.eq(1)
                        m.next = "READ REGISTER"
                    with m.Default():
                        m.d.sync += word[:8].eq(identity.word_select(address[:4], 8))
                        m.next = "DATA"
            with m.State("TAKE"):
                m.d.sync += word[:8].eq(memory.read_data)
                m.next = "DATA"
            with m.State("READ REGISTER"):
                m.d.comb += registers.rready.eq(1)
                with m.If(registers.arready):
                    m.d.sync += registers.arvalid.eq(0)
                with m.If(registers.rvalid):
                    m.d.sync += word.eq(registers.rdata)
                    m.next = "DATA"
            with m.State("DATA"):
                last = done + 1 == header.length
                answer(word[:8], last, "READ")
                with m.If(answers.i.ready):
                    advance(1)
                    m.d.sync += word.eq(word >> 8)
                    with m.If(words & (done[:2] != 3)):
                        m.next = "DATA"
                    with m.If(last):
                        m.d.comb += requests.clear.eq(1)
                        m.next = "IDLE"
        return m
