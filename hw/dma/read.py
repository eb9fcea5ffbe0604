"""AXI4 read master: bursts of instruction fetch and load engine, one ID, in order."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..streams import Queue, SkidBuffer
from .axi import AXI4Read, BeatStream, BurstRequest, Response, burst_layout, drive_address_channel

__all__ = ["ReadMaster"]


class ReadMaster(wiring.Component):
    """Issues the bursts of two clients and hands each its data; fetch goes first from the cycle after its request on.

    Ports: ``axi``; ``fetch_request``, ``load_request`` (BurstRequest); ``fetch_data``, ``load_data`` (BeatStream);
    ``base``: added to every address; ``stop``: issues no further request (the load engine, in reset, is not told so) and
    discards data, until the bursts in flight have ended; ``busy``: some have not; ``beat``: a data beat arrived in this cycle.

    At most ``config.bursts_in_flight`` bursts are under way. A request and data pass one register each. One burst in a
    cycle, one beat in a cycle.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "axi": Out(AXI4Read(config)),
            "fetch_request": In(BurstRequest()), "load_request": In(BurstRequest()),
            "fetch_data": Out(BeatStream(config)), "load_data": Out(BeatStream(config)),
            "base": In(config.address_bits), "stop": In(1), "busy": Out(1), "beat": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        axi, limit = self.axi, self.config.bursts_in_flight
        m.submodules.owners = owners = Queue(1, limit)      # 1: fetch
        # Whether a request is taken comes from registers, not from the bus's answer in the same cycle.
        m.submodules.addresses = addresses = SkidBuffer(burst_layout(self.config.address_bits))

        # Arbiter; the queue of owners is also the count of bursts in flight.
        free = Signal()
        from_fetch = Signal()
        requested = Signal()
        waited = Signal()       # fetch asked a cycle ago: that it asks comes too late for the load engine
        m.d.comb += [
            free.eq(owners.i.ready & addresses.i.ready),
            from_fetch.eq(waited | ~self.load_request.valid),
            self.fetch_request.ready.eq(free & from_fetch & ~self.stop),
            self.load_request.ready.eq(free & ~waited),
            requested.eq(Mux(from_fetch, self.fetch_request.valid, self.load_request.valid) & free & ~self.stop),
            owners.i.valid.eq(requested),
            owners.i.payload.eq(from_fetch),
        ]

        m.d.sync += waited.eq(self.fetch_request.valid & ~self.fetch_request.ready)

        # Address channel, from registers.
        chosen = Signal(self.load_request.payload.shape())
        m.d.comb += [
            *drive_address_channel(axi, "ar", self.config),
            chosen.eq(Mux(from_fetch, self.fetch_request.payload, self.load_request.payload)),
            addresses.i.valid.eq(requested),
            addresses.i.payload.address.eq(self.base + chosen.address),
            addresses.i.payload.length.eq(chosen.length),
            axi.arvalid.eq(addresses.o.valid), addresses.o.ready.eq(axi.arready),
            axi.araddr.eq(addresses.o.payload.address), axi.arlen.eq(addresses.o.payload.length),
        ]

        # Data channel.
        m.submodules.arrived = arrived = SkidBuffer(self.load_data.payload.shape())
        beat = arrived.o.payload
        m.d.comb += [
            arrived.i.valid.eq(axi.rvalid),
            axi.rready.eq(arrived.i.ready),
            arrived.i.payload.data.eq(axi.rdata),
            arrived.i.payload.error.eq(axi.rresp != Response.OKAY),
            arrived.i.payload.last.eq(axi.rlast),
            self.beat.eq(axi.rvalid & axi.rready),
            self.fetch_data.payload.eq(beat), self.load_data.payload.eq(beat),
            self.fetch_data.valid.eq(arrived.o.valid & owners.o.payload),
            self.load_data.valid.eq(arrived.o.valid & ~owners.o.payload),
            arrived.o.ready.eq(self.stop | Mux(owners.o.payload, self.fetch_data.ready, self.load_data.ready)),
            owners.o.ready.eq(arrived.o.valid & arrived.o.ready & beat.last),
            self.busy.eq(owners.o.valid),
        ]
        return m
