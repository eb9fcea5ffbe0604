"""The scratchpad side of a transfer: the lines its beats belong to, in order."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS
from ..streams import SkidBuffer

__all__ = ["JobKind", "job_layout", "line_layout", "beat_address_bits", "slot_bits", "run_beats_bits", "LineWalker"]

_FIELDS = isa.INSTRUCTIONS["LOAD"].fields


class JobKind(enum.Enum, shape=2):
    """What the beats of a job are."""
    LINES = 0       #: scratchpad lines
    INDEX = 1       #: entries of the index memory
    SYNC = 2        #: none: only tokens


def slot_bits(config):
    """Bits of a beat's number within a scratchpad line."""
    return (config.line_bytes // config.data_bytes - 1).bit_length()


def beat_address_bits(config):
    """Bits of a scratchpad address counted in beats."""
    return (config.scratchpad_words * config.word_bytes // config.data_bytes - 1).bit_length()


def run_beats_bits(config):
    """Bits of a run's length in beats; an INDEX, whose run is its whole list, needs fewer."""
    return _FIELDS["run_words"].width + max(0, (config.word_bytes // config.data_bytes - 1).bit_length()) + 1


def job_layout(config):
    """One instruction seen from the scratchpad; addresses and strides in beats, all counts at least 1.

    ``start`` is the address of the first outer iteration, ``base`` that of ring slot 0.
    """
    address = beat_address_bits(config)
    return data.StructLayout({
        "kind": JobKind, "start": address, "base": address, "run_beats": run_beats_bits(config),
        "inner_count": _FIELDS["inner_count"].width, "inner_stride": address,
        "outer_count": _FIELDS["outer_count"].width, "outer_stride": address,
        "ring_slots": _FIELDS["ring_slots"].width, "ring_start": _FIELDS["ring_start"].width,
        "semaphore": isa.SEMAPHORE_BITS, "each": 1, "count": isa.TOKEN_BITS, "pc": PC_BITS,
    })


def line_layout(config):
    """Beats ``first`` to ``last`` of one line, and what follows them.

    ``ends_iteration``: last of an outer iteration; ``ends_job``: last of the instruction; ``semaphore``: counter that then
    gets ``count`` tokens, 0: none.
    """
    slots = slot_bits(config)
    return data.StructLayout({
        "kind": JobKind, "line": beat_address_bits(config) - slots, "first": slots, "last": slots,
        "ends_iteration": 1, "ends_job": 1, "semaphore": isa.SEMAPHORE_BITS, "count": isa.TOKEN_BITS, "pc": PC_BITS,
    })


class LineWalker(wiring.Component):
    """Walks the loops of a job.

    Ports: ``i`` stream of `job_layout`, ``o`` stream of `line_layout`, ``idle``. One line in a cycle, no gap between runs,
    iterations or jobs.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"i": In(stream.Signature(job_layout(config))),
                          "o": Out(stream.Signature(line_layout(config))), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slots = slot_bits(config)
        address = beat_address_bits(config)

        active = Signal()
        job = Signal(job_layout(config), reset_less=True)
        here = Signal(address, reset_less=True)  # beat address of the line's first beat
        left = Signal(run_beats_bits(config), reset_less=True)  # beats of the run from here on
        inner_left = Signal.like(job.inner_count, reset_less=True)
        outer_left = Signal.like(job.outer_count, reset_less=True)
        # where the next run, the next iteration start
        next_inner = Signal(address, reset_less=True)
        next_outer = Signal(address, reset_less=True)
        next_slot = Signal.like(job.ring_start, reset_less=True)  # ring slot of next_outer

        room = (1 << slots) - here[:slots]
        ends_run = Signal()
        ends_iteration = Signal()
        ends_job = Signal()
        step = Signal()
        load = Signal()
        # Whether a line can go out comes from a register: behind it are all counters and what the queue of jobs offers.
        m.submodules.lines = lines = SkidBuffer(self.o.payload.shape())
        wiring.connect(m, lines.o, wiring.flipped(self.o))
        out = lines.i.payload
        m.d.comb += [
            ends_run.eq(left <= room),
            ends_iteration.eq(ends_run & (inner_left == 1)),
            ends_job.eq(ends_iteration & (outer_left == 1)),
            lines.i.valid.eq(active),
            step.eq(active & lines.i.ready),
            self.i.ready.eq(~active | (step & ends_job)),
            load.eq(self.i.valid & self.i.ready),
            self.idle.eq(~active & ~self.o.valid),
        ]

        m.d.comb += [
            out.kind.eq(job.kind),
            out.line.eq(here[slots:]),
            out.first.eq(here[:slots]),
            out.last.eq(Mux(ends_run, here[:slots] + left - 1, ~0)),
            out.ends_iteration.eq(ends_iteration),
            out.ends_job.eq(ends_job),
            out.semaphore.eq(Mux(Mux(job.each, ends_iteration, ends_job), job.semaphore, 0)),
            out.count.eq(job.count),
            out.pc.eq(job.pc),
        ]

        # One adder serves the next run, whether the iteration goes on, another one begins or another job.
        source = Signal(job_layout(config))
        origin = Signal(address)
        origin_slot = Signal.like(job.ring_start)
        # Where another job may begin, without looking whether one does: that is known late, and enables registers only.
        begins = Signal()
        m.d.comb += [
            begins.eq(~active | ends_job),
            source.eq(Mux(begins, self.i.payload, job)),
            origin.eq(Mux(begins, self.i.payload.start, next_outer)),
            origin_slot.eq(Mux(begins, self.i.payload.ring_start, next_slot)),
        ]
        new_iteration = Signal()
        m.d.comb += new_iteration.eq(load | (step & ends_iteration))
        with m.If(new_iteration):
            wrap = Signal()
            m.d.comb += wrap.eq(Mux(begins, *((one.ring_slots != 0) & (slot + 1 == one.ring_slots) for one, slot in (
                (self.i.payload, self.i.payload.ring_start), (job, next_slot)))))
            m.d.sync += [
                here.eq(origin),
                left.eq(source.run_beats),
                inner_left.eq(source.inner_count),
                outer_left.eq(Mux(begins, self.i.payload.outer_count, outer_left - 1)),
                next_inner.eq(origin + source.inner_stride),
                next_outer.eq(Mux(wrap, source.base, origin + source.outer_stride)),
                next_slot.eq(Mux(wrap, 0, origin_slot + 1)),
            ]
        with m.Elif(step & ends_run):
            m.d.sync += [
                here.eq(next_inner),
                left.eq(job.run_beats),
                inner_left.eq(inner_left - 1),
                next_inner.eq(next_inner + job.inner_stride),
            ]
        with m.Elif(step):
            m.d.sync += [
                here.eq((here[slots:] + 1) << slots),
                left.eq(left - room),
            ]
        with m.If(load):
            m.d.sync += [active.eq(1), job.eq(self.i.payload)]
        with m.Elif(step & ends_job):
            m.d.sync += active.eq(0)
        return m
