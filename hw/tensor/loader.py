"""The weight loader: the front half of the tensor engine."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import InstructionStream, ScratchpadRead, ThreadState, ThreadStatus, TokenSignal, TokenWait
from ..streams import Queue
from .array import WeightLoad
from .reader import LineReader, run_layout
from .shifter import WeightShifter
from .weight_lines import EARLY, WeightLines, most_lines, weight_tile_layout
from .weight_tiles import WeightTiles

__all__ = ["WeightLoader"]


class WeightLoader(wiring.Component):
    """Loads tile after tile into the array's shadow weights: addresses, lines, steps.

    Parameters
    ----------
    config : Config

    Members
    -------
    instructions : In(InstructionStream())
    read : Out(ScratchpadRead(config))
    load : Out(WeightLoad(rows, cols))
    full : Out(1)
        The shadow weights hold a tile.
    swap : In(1)
        Takes it; only with ``full``.
    at_sync : Out(1)
        Holds at a TENSOR_SYNC, everything before it loaded, until ``synced``.
    synced : In(1)
    w_wait : Out(TokenWait())
    w_signal : Out(TokenSignal())
    status : Out(ThreadStatus())
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()), "read": Out(ScratchpadRead(config)),
            "load": Out(WeightLoad(config.rows, config.cols, config.activation_lanes > 0)), "full": Out(1), "swap": In(1),
            "at_sync": Out(1), "synced": In(1),
            "w_wait": Out(TokenWait()), "w_signal": Out(TokenSignal()), "status": Out(ThreadStatus()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.tiles = tiles = WeightTiles(config)
        m.submodules.lines = lines = WeightLines(config)
        m.submodules.run_queue = run_queue = Queue(run_layout(config, most_lines(config)), 2)
        m.submodules.tile_queue = tile_queue = Queue(weight_tile_layout(config), 4, EARLY)
        m.submodules.reader = reader = LineReader(config, most_lines(config))
        m.submodules.shifter = shifter = WeightShifter(config)

        wiring.connect(m, wiring.flipped(self.instructions), tiles.instructions)
        wiring.connect(m, tiles.tiles, lines.located)
        wiring.connect(m, lines.runs, run_queue.i)
        wiring.connect(m, lines.tiles, tile_queue.i)
        wiring.connect(m, run_queue.o, reader.runs)
        wiring.connect(m, tile_queue.o, shifter.tiles)
        wiring.connect(m, reader.lines, shifter.lines)
        wiring.connect(m, reader.read, wiring.flipped(self.read))
        wiring.connect(m, shifter.load, wiring.flipped(self.load))
        wiring.connect(m, tiles.w_wait, wiring.flipped(self.w_wait))
        wiring.connect(m, shifter.w_signal, wiring.flipped(self.w_signal))

        shifting = lines.busy | tile_queue.o.valid
        m.d.comb += [
            self.full.eq(shifter.full), shifter.swap.eq(self.swap),
            self.at_sync.eq(tiles.at_sync & ~shifting), tiles.synced.eq(self.synced),
            self.status.pc.eq(tiles.pc),
            self.status.semaphore.eq(tiles.semaphore),
            self.status.idle.eq(~self.instructions.valid & ~tiles.busy & ~shifting & ~shifter.w_signal.valid),
        ]
        with m.If(shifter.starved):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_MEMORY)
        with m.Elif(shifting):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)
        with m.Elif(tiles.waiting | tiles.at_sync):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_TOKEN)
        with m.Elif(tiles.busy):
            m.d.comb += self.status.state.eq(ThreadState.BUSY)
        with m.Else():
            m.d.comb += self.status.state.eq(ThreadState.IDLE)
        return m
