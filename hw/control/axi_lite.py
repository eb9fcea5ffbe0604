"""AXI4-Lite, 32 bits: the signature and a slave that turns it into register accesses."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from .register_map import ADDRESS_BITS

__all__ = ["AXI4Lite", "RegisterPort"]


class AXI4Lite(Signature):
    """All five channels, master side."""

    def __init__(self):
        super().__init__({
            "awaddr": Out(ADDRESS_BITS), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(ADDRESS_BITS), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


class RegisterPort(wiring.Component):
    """One access of each kind at a time; every AXI output comes from a register, every response is OKAY.

    Ports: ``axi``; ``write``: a strobe for each byte, in one cycle, of register ``write_index`` (offset / 4), with
    ``write_data``; ``read``: in one cycle, register ``read_index``, whose ``read_data`` is taken in that cycle.
    """

    axi: In(AXI4Lite())
    write: Out(4)
    write_index: Out(ADDRESS_BITS - 2)
    write_data: Out(32)
    read: Out(1)
    read_index: Out(ADDRESS_BITS - 2)
    read_data: In(32)

    def elaborate(self, platform):
        m = Module()
        axi = self.axi

        strobe = Signal(4)
        fire = Signal()
        m.d.comb += [
            # Ready means: not holding one. Address and data may come in either order.
            fire.eq(~axi.awready & ~axi.wready & ~axi.bvalid),
            self.write.eq(strobe & fire.replicate(4)),
            axi.bresp.eq(0),
            axi.rresp.eq(0),
        ]
        ready_for_address = Signal(init=1)
        ready_for_data = Signal(init=1)
        m.d.comb += [axi.awready.eq(ready_for_address), axi.wready.eq(ready_for_data)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [ready_for_address.eq(0), self.write_index.eq(axi.awaddr[2:])]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [ready_for_data.eq(0), self.write_data.eq(axi.wdata), strobe.eq(axi.wstrb)]
        with m.If(fire):
            m.d.sync += axi.bvalid.eq(1)
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += [axi.bvalid.eq(0), ready_for_address.eq(1), ready_for_data.eq(1)]

        ready_for_read = Signal(init=1)
        m.d.comb += [axi.arready.eq(ready_for_read), self.read.eq(~ready_for_read & ~axi.rvalid)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [ready_for_read.eq(0), self.read_index.eq(axi.araddr[2:])]
        with m.If(self.read):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(self.read_data)]
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += [axi.rvalid.eq(0), ready_for_read.eq(1)]
        return m
