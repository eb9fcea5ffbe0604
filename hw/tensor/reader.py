"""Reads runs of scratchpad lines ahead of their use."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import READ_LATENCY, ScratchpadRead
from ..streams import Queue

__all__ = ["LineReader", "run_layout"]


def run_layout(config, most):
    """A run of up to `most` lines: first ``line``, ``count``, and whether addresses go ``down``."""
    return data.StructLayout({
        "line": unsigned((config.scratchpad_words // 2 - 1).bit_length()),
        "count": unsigned(most.bit_length()),
        "down": 1,
    })


class LineReader(wiring.Component):
    """Reads the lines of each run in order into a queue of `depth` lines, as far ahead as the queue has room.

    Parameters
    ----------
    config : Config
    most : int
        Largest ``count`` of a run.
    depth : int
        Lines that are read ahead, counting those on their way; as many as there are by default hide the read's latency.

    Members
    -------
    runs : In(stream.Signature(run_layout(config, most)))
    read : Out(ScratchpadRead(config))
    lines : Out(stream.Signature(8 * line_bytes))
    idle : Out(1)
        No run is being read; lines may still be on their way.
    refused : Out(1)
        The scratchpad does not serve the read in this cycle.
    """

    def __init__(self, config, most, depth=READ_LATENCY + 2):
        self.config = config
        self.most = most
        self.depth = depth
        super().__init__({
            "runs": In(stream.Signature(run_layout(config, most))),
            "read": Out(ScratchpadRead(config)),
            "lines": Out(stream.Signature(8 * config.line_bytes)),
            "idle": Out(1), "refused": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(8 * self.config.line_bytes, self.depth)

        line = Signal(self.read.line.shape(), reset_less=True)
        down = Signal(reset_less=True)
        left = Signal(range(self.most + 1), reset_less=True)
        # What is asked of `left` in each cycle stands in registers.
        reading, last = Signal(), Signal(reset_less=True)
        reserved, full = Signal(range(self.depth + 1)), Signal()
        accepted, popped = Signal(), Signal()
        m.d.comb += [
            self.read.valid.eq(reading & ~full),
            self.read.line.eq(line),
            accepted.eq(self.read.valid & self.read.ready),
            self.runs.ready.eq(~reading | (accepted & last)),
            self.idle.eq(~reading),
            self.refused.eq(self.read.valid & ~self.read.ready),
        ]
        with m.If(self.runs.ready):
            count = self.runs.payload.count
            m.d.sync += [reading.eq(self.runs.valid & (count != 0)), left.eq(count), last.eq(count == 1),
                         line.eq(self.runs.payload.line), down.eq(self.runs.payload.down)]
        with m.Elif(accepted):
            m.d.sync += [line.eq(Mux(down, line - 1, line + 1)), left.eq(left - 1), last.eq(left == 2)]

        arriving = Signal(READ_LATENCY)
        m.d.sync += arriving.eq((arriving << 1) | accepted)
        m.d.comb += [
            queue.i.valid.eq(arriving[-1]),
            queue.i.payload.eq(self.read.data),
            self.lines.valid.eq(queue.o.valid),
            self.lines.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.lines.ready),
            popped.eq(queue.o.valid & queue.o.ready),
        ]
        with m.If(accepted & ~popped):
            m.d.sync += [reserved.eq(reserved + 1), full.eq(reserved == self.depth - 1)]
        with m.Elif(popped & ~accepted):
            m.d.sync += [reserved.eq(reserved - 1), full.eq(0)]
        return m
