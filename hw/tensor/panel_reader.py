"""Reads the moving rows of several panels side by side, for sparse weights."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import ScratchpadRead
from ..streams import Queue
from .reader import LineReader, run_layout

__all__ = ["PanelReader", "panel_runs_layout", "row_ports"]

#: Panels that a port of the scratchpad serves: at two rows in a line it brings a row of both in every cycle.
_PANELS_PER_PORT = 2


def row_ports(config):
    """Names of the ports of the scratchpad that moving rows come through."""
    return ["rows", "more_rows"][:max(1, config.sparse_panels // _PANELS_PER_PORT)]


def panel_runs_layout(config, most):
    """A run of lines for each panel, `run_layout`; one of no lines where there is no panel."""
    return data.ArrayLayout(run_layout(config, most), config.sparse_panels)


class PanelReader(wiring.Component):
    """A `LineReader` for each panel of a K tile of sparse weights; the first one also reads the rows of dense tiles.

    Those of a port take a run together, when the last one is through with the run before, and take turns as their queues have
    room; the first has its port to itself in dense runs, so those are read without a gap.

    Parameters
    ----------
    config : Config
    most : int
        Largest ``count`` of a run.

    Members
    -------
    runs : In(stream.Signature(panel_runs_layout(config, most)))
    read_<port> : Out(ScratchpadRead(config))
        For each of `row_ports`.
    lines_<n> : Out(stream.Signature(8 * line_bytes))
        For each panel.
    refused : Out(1)
        The scratchpad does not serve some read in this cycle.
    """

    def __init__(self, config, most):
        self.config = config
        self.most = most
        super().__init__({
            "runs": In(stream.Signature(panel_runs_layout(config, most))),
            **{f"read_{name}": Out(ScratchpadRead(config)) for name in row_ports(config)},
            **{f"lines_{n}": Out(stream.Signature(8 * config.line_bytes)) for n in range(config.sparse_panels)},
            "refused": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        readers = []
        for n in range(config.sparse_panels):
            readers.append(LineReader(config, self.most))
            m.submodules[f"panel_{n}"] = readers[-1]
            wiring.connect(m, readers[-1].lines, wiring.flipped(getattr(self, f"lines_{n}")))

        # The second port may be behind by some runs.
        run = run_layout(config, self.most)
        groups = [readers[first:first + _PANELS_PER_PORT] for first in range(0, len(readers), _PANELS_PER_PORT)]
        later = [Queue(data.ArrayLayout(run, _PANELS_PER_PORT), 2) for _ in groups[1:]]
        for number, queue in enumerate(later, 1):
            m.submodules[f"runs_{number}"] = queue
        taken = Signal()
        first_ready = Cat(reader.runs.ready for reader in groups[0]).all()
        m.d.comb += [self.runs.ready.eq(Cat(first_ready, *(queue.i.ready for queue in later)).all()),
                     taken.eq(self.runs.valid & self.runs.ready)]

        refused = []
        for number, (name, group) in enumerate(zip(row_ports(config), groups)):
            port = getattr(self, f"read_{name}")
            valid, runs = taken, [self.runs.payload[_PANELS_PER_PORT * number + n] for n in range(_PANELS_PER_PORT)]
            if number:
                queue = later[number - 1]
                m.d.comb += [queue.i.valid.eq(taken), queue.i.payload[0].eq(runs[0]), queue.i.payload[1].eq(runs[1]),
                             queue.o.ready.eq(Cat(reader.runs.ready for reader in group).all())]
                valid, runs = queue.o.valid & queue.o.ready, [queue.o.payload[0], queue.o.payload[1]]
            for reader, payload in zip(group, runs):
                m.d.comb += [reader.runs.valid.eq(valid), reader.runs.payload.eq(payload)]
            first, second = group
            prefers, turn = Signal(name=f"first_{name}"), Signal(name=f"turn_{name}")
            with m.If(port.valid & port.ready):
                m.d.sync += turn.eq(prefers)
            m.d.comb += [
                prefers.eq(first.read.valid & ~(second.read.valid & turn)), port.valid.eq(first.read.valid | second.read.valid),
                port.line.eq(Mux(prefers, first.read.line, second.read.line)),
                first.read.data.eq(port.data), second.read.data.eq(port.data),
                first.read.ready.eq(port.ready & prefers), second.read.ready.eq(port.ready & ~prefers),
            ]
            if number:
                # The line that is in the other half of the bank than the one which the first port reads now, if there is one.
                other = getattr(self, f"read_{row_ports(config)[0]}")
                with m.If(other.valid & first.read.valid & second.read.valid & (first.read.line[0] != second.read.line[0])):
                    m.d.comb += prefers.eq(first.read.line[0] != other.line[0])
            refused.append(port.valid & ~port.ready)
        m.d.comb += self.refused.eq(Cat(refused).any())
        return m
