"""AXI4 write master: the store engine's bursts, one ID, in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..streams import Queue, SkidBuffer
from .axi import AXI4Write, BurstRequest, Response, burst_layout, drive_address_channel

__all__ = ["WriteMaster"]


class WriteMaster(wiring.Component):
    """Issues bursts, takes their data in the same order and returns their responses.

    Ports: ``axi``; ``request`` (BurstRequest); ``data``: stream of beats, strobes are always full; ``response``: stream of
    one bit for each burst, 1 for an error response; ``base``: added to every address; ``stop``: issues no further request (the
    store engine, in reset, is not told so) and completes the bursts that were requested with beats whose strobes are zero;
    ``busy``: some have not ended; ``beat``: a data beat was taken in this cycle.

    At most ``config.bursts_in_flight`` bursts are under way. Data may go out before its address (AXI4 demands that a
    master waits for neither). One burst in a cycle, one beat in a cycle.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "axi": Out(AXI4Write(config)),
            "request": In(BurstRequest()),
            "data": In(stream.Signature(8 * config.data_bytes)),
            "response": Out(stream.Signature(1)),
            "base": In(config.address_bits), "stop": In(1), "busy": Out(1), "beat": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        axi, limit = self.axi, self.config.bursts_in_flight
        m.submodules.lengths = lengths = Queue(range(256), limit)
        # Whether a request is taken comes from registers, not from the bus's answer in the same cycle.
        m.submodules.addresses = addresses = SkidBuffer(burst_layout(self.config.address_bits))
        in_flight = Signal(range(limit + 1))

        free = Signal()
        ended = Signal()
        m.d.comb += [
            free.eq(~in_flight[-1]),        # fewer than the limit, a power of two; then there is room for the length too
            self.request.ready.eq(addresses.i.ready & free),
            lengths.i.valid.eq(self.request.valid & self.request.ready & ~self.stop),
            lengths.i.payload.eq(self.request.payload.length),
            ended.eq(axi.bvalid & axi.bready),
            self.busy.eq(in_flight != 0),
        ]
        m.d.sync += in_flight.eq(in_flight + lengths.i.valid - ended)

        # Address channel, from registers.
        m.d.comb += [
            *drive_address_channel(axi, "aw", self.config),
            addresses.i.valid.eq(self.request.valid & free & ~self.stop),
            addresses.i.payload.address.eq(self.base + self.request.payload.address),
            addresses.i.payload.length.eq(self.request.payload.length),
            axi.awvalid.eq(addresses.o.valid), addresses.o.ready.eq(axi.awready),
            axi.awaddr.eq(addresses.o.payload.address), axi.awlen.eq(addresses.o.payload.length),
        ]

        # Data channel, from registers.
        position = Signal(8)
        taking = Signal()
        moving = Signal()
        m.d.comb += [
            taking.eq(lengths.o.valid & (~axi.wvalid | axi.wready)),
            self.data.ready.eq(taking & ~self.stop),
            moving.eq(taking & (self.data.valid | self.stop)),
            lengths.o.ready.eq(moving & (position == lengths.o.payload)),
            self.beat.eq(axi.wvalid & axi.wready),
        ]
        with m.If(~axi.wvalid | axi.wready):
            m.d.sync += axi.wvalid.eq(moving)
        with m.If(moving):
            m.d.sync += [
                axi.wdata.eq(self.data.payload),
                axi.wstrb.eq(~self.stop.replicate(len(axi.wstrb))),
                axi.wlast.eq(lengths.o.ready),
                position.eq(position + 1),
            ]
            with m.If(lengths.o.ready):
                m.d.sync += position.eq(0)

        # Response channel.
        m.d.comb += [
            self.response.valid.eq(axi.bvalid),
            self.response.payload.eq(axi.bresp != Response.OKAY),
            axi.bready.eq(self.response.ready | self.stop),
        ]
        return m
