"""The scratchpad side of a transfer: the lines its beats belong to, in order."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS

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

    ``start`` is the address of the first outer iteration, ``base`` that of ring slot 0. From the first iteration's slot
    ``ring_left`` more follow until slot 0; ``wraps``: it is the very next one.
    """
    address = beat_address_bits(config)
    return data.StructLayout({
        "kind": JobKind, "start": address, "base": address, "run_beats": run_beats_bits(config),
        "inner_count": _FIELDS["inner_count"].width, "inner_stride": address,
        "outer_count": _FIELDS["outer_count"].width, "outer_stride": address,
        "ring_slots": _FIELDS["ring_slots"].width, "ring_left": _FIELDS["ring_slots"].width, "wraps": 1,
        "semaphore": isa.SEMAPHORE_BITS, "each": 1, "count": isa.TOKEN_BITS, "pc": PC_BITS,
    })


def line_layout(config):
    """Beats ``first`` to ``last`` of one line (``single``: these are one), and what follows them.

    ``ends_iteration``: last of an outer iteration; ``ends_job``: last of the instruction; ``semaphore``: counter that then
    gets ``count`` tokens, 0: none.
    """
    slots = slot_bits(config)
    return data.StructLayout({
        "kind": JobKind, "line": beat_address_bits(config) - slots, "first": slots, "last": slots, "single": 1,
        "ends_iteration": 1, "ends_job": 1, "semaphore": isa.SEMAPHORE_BITS, "count": isa.TOKEN_BITS, "pc": PC_BITS,
    })


class LineWalker(wiring.Component):
    """Walks the loops of a job.

    Ports: ``i`` stream of `job_layout`, ``o`` stream of `line_layout`, ``idle``. One line in a cycle, no gap between runs,
    iterations or jobs. ``o.ready`` must come from registers: behind it are all counters and what the queue of jobs offers.
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
        run_end = Signal(run_beats_bits(config), reset_less=True)  # the run's last beat, counted from the start of the line
        inner_left = Signal.like(job.inner_count, reset_less=True)
        outer_left = Signal.like(job.outer_count, reset_less=True)
        # where the next run, the next iteration start
        next_inner = Signal(address, reset_less=True)
        next_outer = Signal(address, reset_less=True)
        ring_left = Signal.like(job.ring_left, reset_less=True)  # ring slots from next_outer to the end of the ring

        # Whether this is the last line of its run, in the last run, in the last iteration, and whether slot 0 comes after
        # next_outer: known a line ahead, since every other register depends on it. Without a job, the first three are set:
        # the registers take what the input offers until a job comes.
        ends_run = Signal(init=1)
        last_run = Signal(init=1)
        last_iteration = Signal(init=1)
        wraps = Signal(reset_less=True)
        ends_iteration = Signal()
        ends_job = Signal()
        step = Signal()
        out = self.o.payload
        m.d.comb += [
            ends_iteration.eq(ends_run & last_run),
            ends_job.eq(ends_iteration & last_iteration),
            self.o.valid.eq(active),
            step.eq(~active | self.o.ready),
            self.i.ready.eq(step & ends_job),
            self.idle.eq(~active),
        ]

        first = here[:slots]
        m.d.comb += [
            out.kind.eq(job.kind),
            out.line.eq(here[slots:]),
            out.first.eq(first),
            out.last.eq(Mux(ends_run, run_end[:slots], ~0)),
            out.single.eq(first == out.last),
            out.ends_iteration.eq(ends_iteration),
            out.ends_job.eq(ends_job),
            out.semaphore.eq(Mux(Mux(job.each, ends_iteration, ends_job), job.semaphore, 0)),
            out.count.eq(job.count),
            out.pc.eq(job.pc),
        ]

        # One adder serves the next run, whether the iteration goes on, another one begins or another job. What is compared
        # of a job is compared before it is chosen.
        following = self.i.payload
        source = Signal(job_layout(config))
        origin = Signal(address)
        m.d.comb += [
            source.eq(Mux(ends_job, following, job)),
            origin.eq(Mux(ends_job, following.start, Mux(last_run, next_outer, next_inner))),
        ]

        def is_short(job):
            """Whether a run may fit in one line."""
            return job.run_beats[slots + 1:] == 0

        def ends_in_line(job, origin):
            """Whether a short run from there on does not reach the next line."""
            return job.run_beats[:slots + 1] + origin[:slots] <= 1 << slots

        short, single_run = Signal(reset_less=True), Signal(reset_less=True)    # of `job`
        fits = Signal()
        m.d.comb += fits.eq(Mux(
            ends_job, is_short(following) & ends_in_line(following, following.start),
            short & Mux(last_run, ends_in_line(job, next_outer), ends_in_line(job, next_inner))))
        with m.If(step & ends_run):
            m.d.sync += [
                here.eq(origin),
                run_end.eq(source.run_beats + (origin[:slots] - 1)),
                ends_run.eq(fits),
                next_inner.eq(origin + source.inner_stride),
                inner_left.eq(inner_left - 1),
                last_run.eq(inner_left == 2),
            ]
        with m.Elif(step):
            m.d.sync += [
                here.eq((here[slots:] + 1) << slots),
                run_end[slots:].eq(run_end[slots:] - 1),
                ends_run.eq(run_end[slots:] == 1),
            ]
        wrap = Signal()
        left = Signal.like(ring_left)
        m.d.comb += [
            wrap.eq(Mux(ends_job, following.wraps, wraps)),
            left.eq(Mux(wrap, source.ring_slots, Mux(ends_job, following.ring_left, ring_left))),
        ]
        with m.If(step & ends_iteration):
            m.d.sync += [
                inner_left.eq(source.inner_count),
                last_run.eq(single_run),
                outer_left.eq(outer_left - 1),
                last_iteration.eq(outer_left == 2),
                next_outer.eq(Mux(wrap, source.base, origin + source.outer_stride)),
                ring_left.eq(left - 1),
                wraps.eq((left == 1) & (source.ring_slots != 0)),
            ]
        with m.If(step & ends_job):
            one_run, one_iteration = following.inner_count == 1, following.outer_count == 1
            m.d.sync += [
                active.eq(self.i.valid),
                job.eq(following),
                short.eq(is_short(following)),
                single_run.eq(one_run),
                outer_left.eq(following.outer_count),
                ends_run.eq(fits | ~self.i.valid),
                last_run.eq(one_run | ~self.i.valid),
                last_iteration.eq(one_iteration | ~self.i.valid),
            ]
        return m
