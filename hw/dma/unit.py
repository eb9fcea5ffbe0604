"""Everything between memory and scratchpad: the AXI4 masters with the load and the store engine."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import (PC_BITS, InstructionStream, ScratchpadRead, ScratchpadWrite, ThreadStatus, TokenSignal,
                          TokenWait)
from .axi import AXI4, BeatStream, BurstRequest
from .load import LoadEngine
from .read import ReadMaster
from .store import StoreEngine
from .write import WriteMaster

__all__ = ["DmaUnit"]


class DmaUnit(wiring.Component):
    """The accelerator's memory port.

    Ports: ``axi``; ``fetch_request``, ``fetch_beats`` of instruction fetch; ``load``, ``store`` instructions; ``write``,
    ``read`` of the scratchpad; ``load_*``, ``store_*``: ``wait``, ``signal``, ``status``; ``read_error``, ``write_error`` and
    their ``_pc``; ``read_beat``, ``write_beat``, ``busy`` of the masters; ``base``; ``stop``: the engines are in reset and the
    masters end what they began.
    """

    def __init__(self, config):
        self.config = config
        engine = {"wait": Out(TokenWait()), "signal": Out(TokenSignal()), "status": Out(ThreadStatus())}
        super().__init__({
            "axi": Out(AXI4(config)),
            "fetch_request": In(BurstRequest()), "fetch_beats": Out(BeatStream(config)),
            "load": In(InstructionStream()), "store": In(InstructionStream()),
            "write": Out(ScratchpadWrite(config)), "read": Out(ScratchpadRead(config)),
            **{f"{name}_{port}": member for name in ("load", "store") for port, member in engine.items()},
            "read_error": Out(1), "read_error_pc": Out(PC_BITS), "write_error": Out(1), "write_error_pc": Out(PC_BITS),
            "read_beat": Out(1), "write_beat": Out(1), "busy": Out(1),
            "base": In(config.address_bits), "stop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        until_start = ResetInserter(self.stop)
        m.submodules.read_master = reads = ReadMaster(config)
        m.submodules.write_master = writes = WriteMaster(config)
        m.submodules.load_engine = load = until_start(LoadEngine(config))
        m.submodules.store_engine = store = until_start(StoreEngine(config))

        for master in (reads, writes):
            for name, member in master.axi.signature.members.items():
                inside, outside = getattr(master.axi, name), getattr(self.axi, name)
                m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
            m.d.comb += [master.base.eq(self.base), master.stop.eq(self.stop)]
        wiring.connect(m, wiring.flipped(self.fetch_request), reads.fetch_request)
        wiring.connect(m, reads.fetch_data, wiring.flipped(self.fetch_beats))
        wiring.connect(m, load.request, reads.load_request)
        wiring.connect(m, reads.load_data, load.beats)
        wiring.connect(m, store.request, writes.request)
        wiring.connect(m, store.beats, writes.data)
        wiring.connect(m, writes.response, store.response)
        wiring.connect(m, load.scratchpad, wiring.flipped(self.write))
        wiring.connect(m, store.scratchpad, wiring.flipped(self.read))
        for name, engine in (("load", load), ("store", store)):
            wiring.connect(m, wiring.flipped(getattr(self, name)), engine.i)
            for port in ("wait", "signal", "status"):
                wiring.connect(m, getattr(engine, port), wiring.flipped(getattr(self, f"{name}_{port}")))
        m.d.comb += [
            self.read_error.eq(load.error), self.read_error_pc.eq(load.error_pc),
            self.write_error.eq(store.error), self.write_error_pc.eq(store.error_pc),
            self.read_beat.eq(reads.beat), self.write_beat.eq(writes.beat),
            self.busy.eq(reads.busy | writes.busy),
        ]
        return m
