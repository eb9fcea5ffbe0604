"""The row streamer: the back half of the tensor engine."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import (InstructionStream, RescaleRead, ScratchpadRead, ThreadState, ThreadStatus, TokenSignal,
                          TokenWait)
from ..memory.accumulators import Accumulators
from ..streams import Queue
from .blocks import operands_layout
from .issuer import RowIssuer, destination_layout
from .panel_reader import PanelReader, row_ports
from .reader import LineReader
from .row_tiles import EARLY, MOST_LINES, RowTiles, row_runs_layout, row_tile_layout

__all__ = ["RowStreamer"]


class RowStreamer(wiring.Component):
    """Streams the moving rows of each tile through the array: addresses, lines, rows.

    Parameters
    ----------
    config : Config
    latency : int
        Cycles from ``operands`` to the accumulators' ``results.valid``, for ``status``.

    Members
    -------
    instructions : In(InstructionStream())
    read : Out(ScratchpadRead(config))
        With `sparsity` ``read_<port>``, for each of `row_ports`.
    full, take : In(1), Out(1)
        The next tile is in the shadow weights; it is taken.
    swap, operands, valid, destination : Out
        As in `RowIssuer`.
    at_sync, synced : In(1), Out(1)
        As in `RowTiles`.
    rescale : Out(RescaleRead(config))
    a_wait, acc_wait : Out(TokenWait())
    a_signal : Out(TokenSignal())
    status : Out(ThreadStatus())
        Idle when the last result is written, too.
    """

    def __init__(self, config, latency):
        self.config = config
        self.latency = latency
        super().__init__({
            "instructions": In(InstructionStream()),
            **({f"read_{name}": Out(ScratchpadRead(config)) for name in row_ports(config)} if config.sparsity else
               {"read": Out(ScratchpadRead(config))}),
            "full": In(1), "take": Out(1), "swap": Out(1), "operands": Out(operands_layout(config)),
            "valid": Out(1), "destination": Out(destination_layout(config)),
            "at_sync": In(1), "synced": Out(1),
            "rescale": Out(RescaleRead(config)), "a_wait": Out(TokenWait()), "acc_wait": Out(TokenWait()),
            "a_signal": Out(TokenSignal()), "status": Out(ThreadStatus()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.tiles = tiles = RowTiles(config)
        m.submodules.run_queue = run_queue = Queue(row_runs_layout(config), 2)
        m.submodules.tile_queue = tile_queue = Queue(row_tile_layout(config), 4, EARLY)
        m.submodules.reader = reader = (PanelReader if config.sparsity else LineReader)(config, MOST_LINES)
        m.submodules.issuer = issuer = RowIssuer(config)

        wiring.connect(m, wiring.flipped(self.instructions), tiles.instructions)
        wiring.connect(m, tiles.runs, run_queue.i)
        wiring.connect(m, tiles.tiles, tile_queue.i)
        wiring.connect(m, run_queue.o, reader.runs)
        wiring.connect(m, tile_queue.o, issuer.tiles)
        if config.sparsity:
            for n in range(config.sparse_panels):
                wiring.connect(m, getattr(reader, f"lines_{n}"), getattr(issuer, f"lines_{n}"))
            for name in row_ports(config):
                wiring.connect(m, getattr(reader, f"read_{name}"), wiring.flipped(getattr(self, f"read_{name}")))
        else:
            wiring.connect(m, reader.lines, issuer.lines)
            wiring.connect(m, reader.read, wiring.flipped(self.read))
        wiring.connect(m, issuer.rescale, wiring.flipped(self.rescale))
        wiring.connect(m, tiles.a_wait, wiring.flipped(self.a_wait))
        wiring.connect(m, tiles.acc_wait, wiring.flipped(self.acc_wait))

        # From a row's valid on: the array, then the accumulators, then the cycle in which the token is sent.
        tail = self.latency + Accumulators.LATENCY + 1
        draining = Signal(range(tail + 1))
        with m.If(issuer.valid):
            m.d.sync += draining.eq(tail)
        with m.Elif(draining != 0):
            m.d.sync += draining.eq(draining - 1)

        in_flight = Signal()        # between the queue and the array
        streaming = tile_queue.o.valid | in_flight
        issued = Signal(2)
        m.d.sync += issued.eq((issued << 1) | (tile_queue.o.valid & tile_queue.o.ready))
        m.d.comb += [
            in_flight.eq(issued.any() | issuer.valid),
            issuer.full.eq(self.full), self.take.eq(issuer.take), self.swap.eq(issuer.swap),
            self.operands.eq(issuer.operands), self.valid.eq(issuer.valid), self.destination.eq(issuer.destination),
            tiles.at_sync.eq(self.at_sync), self.synced.eq(tiles.synced),
            tiles.drained.eq(~streaming),
            # While a TENSOR_SYNC signals, nothing is being streamed.
            self.a_signal.valid.eq(issuer.a_signal.valid | tiles.sync_signal.valid),
        ]
        with m.If(tiles.sync_signal.valid):
            m.d.comb += self.a_signal.id.eq(tiles.sync_signal.id)
        with m.Else():
            m.d.comb += self.a_signal.id.eq(issuer.a_signal.id)

        m.d.comb += [
            self.status.pc.eq(tiles.pc),
            self.status.semaphore.eq(tiles.semaphore),
            self.status.idle.eq(~self.instructions.valid & ~tiles.busy & ~streaming & (draining == 0)),
        ]
        with m.If(issuer.starved & reader.refused):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_MEMORY)
        with m.Elif(issuer.unloaded):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_WEIGHTS)
        with m.Elif(tile_queue.o.valid):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)
        with m.Elif(tiles.waiting):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_TOKEN)
        with m.Elif(tiles.busy):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)
        with m.Elif(draining != 0):
            m.d.comb += self.status.state.eq(ThreadState.DRAIN)
        with m.Else():
            m.d.comb += self.status.state.eq(ThreadState.IDLE)
        return m
