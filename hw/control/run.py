"""Starting and stopping."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa import ErrorCause
from ..interfaces import PC_BITS

__all__ = ["ERRORS", "RunControl"]

#: Errors that can be reported, the first named wins if several are known in one cycle.
ERRORS = {
    "read": ErrorCause.READ_ERROR, "write": ErrorCause.WRITE_ERROR, "abort": ErrorCause.ABORTED,
    "overflow": ErrorCause.TOKEN_OVERFLOW, "fetch": ErrorCause.READ_ERROR, "illegal": ErrorCause.ILLEGAL_INSTRUCTION,
}
#: Those that come from the ends of long paths are known a cycle later. Their engine is idle, and END executed, later still.
_LATE = ("read", "write", "abort")


class RunControl(wiring.Component):
    """Holds the engines in reset unless a program runs, and lets the bus finish what it began.

    Ports: ``start``: a start was written; ``ended``: END was executed; ``error_*``, ``pc_*`` of `ERRORS` (an overflow's in the cycle
    after); ``bus_busy``: bursts are under way; ``stop``: engines are held in reset and the bus starts nothing new; ``running``:
    cycles are counted; ``busy``, ``done``, ``error``, ``cause``, ``error_pc`` for STATUS, the last as long as ``error`` is set;
    ``finished``: the first cycle of done or error.

    After END, reads of the prefetch may still be under way: the host sees done at once, a new start waits for them.
    """

    def __init__(self):
        super().__init__({
            "start": In(1), "ended": In(1),
            **{f"error_{name}": In(1) for name in ERRORS}, **{f"pc_{name}": In(PC_BITS) for name in ERRORS},
            "bus_busy": In(1), "stop": Out(1, init=1), "running": Out(1),
            "busy": Out(1), "done": Out(1), "error": Out(1), "cause": Out(ErrorCause), "error_pc": Out(PC_BITS),
            "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # The start is kept while the bus still drains.
        pending = Signal()
        accepted = Signal()
        m.d.comb += accepted.eq(self.start & ~self.busy)
        with m.If(accepted):
            m.d.sync += [pending.eq(1), self.busy.eq(1), self.done.eq(0), self.error.eq(0),
                         self.cause.eq(ErrorCause.NONE)]
        m.d.comb += self.running.eq(self.busy)
        m.d.sync += self.finished.eq(0)

        raised = {name: getattr(self, f"error_{name}") for name in ERRORS}
        known = dict(raised)
        for name in _LATE:
            known[name] = Signal(name=f"{name}_known")
            m.d.sync += known[name].eq(raised[name])

        def pc_of(names):
            """The instruction of the first of these errors that is raised, or of the last."""
            *names, last = names
            number = getattr(self, f"pc_{last}")
            for name in reversed(names):
                number = Mux(raised[name], getattr(self, f"pc_{name}"), number)
            return number

        # Taken in every cycle until an error is known, a late one's a cycle after it was raised; and an overflow's comes a cycle
        # after it.
        late, late_pc, others_pc = Cat(known[name] for name in _LATE).any(), Signal(PC_BITS, reset_less=True), Signal(PC_BITS)
        by_overflow = Signal()
        m.d.sync += [late_pc.eq(pc_of(_LATE)), by_overflow.eq(known["overflow"] & ~late),
                     others_pc.eq(Mux(late, late_pc, pc_of([name for name in ERRORS if name not in (*_LATE, "overflow")])))]
        failing = Signal()
        failed = Signal()       # a cycle ago: whether an instruction is legal comes late, and much follows from the stop
        in_run = Signal()
        m.d.comb += failing.eq(Cat(known.values()).any())
        m.d.sync += failed.eq(failing & in_run)
        # A start may wait for the bus; an abort in that time ends the run in its first cycle.
        with m.If(accepted):
            m.d.sync += known["abort"].eq(0)
        with m.Elif(~in_run):
            m.d.sync += known["abort"].eq(known["abort"] | raised["abort"])

        # An overflow may come of a program's last token, and is known as late as this.
        ended = Signal(2)
        m.d.sync += ended.eq(Cat(self.ended, ended))

        failed_before, in_run_before = Signal(), Signal()
        with m.If(in_run_before & ~failed_before):
            m.d.sync += self.error_pc.eq(Mux(by_overflow, self.pc_overflow, others_pc))

        with m.FSM() as fsm:
            m.d.comb += in_run.eq(fsm.ongoing("Run"))
            m.d.sync += [failed_before.eq(failed), in_run_before.eq(in_run)]
            with m.State("Idle"):
                with m.If(pending | accepted):
                    m.d.sync += [pending.eq(0), self.stop.eq(0)]
                    m.next = "Run"
            with m.State("Run"):
                for name, cause in reversed(ERRORS.items()):
                    with m.If(known[name] & ~failed):
                        m.d.sync += self.cause.eq(cause)
                with m.If(failed):
                    m.d.sync += self.stop.eq(1)
                    m.next = "Fail"
                with m.Elif(ended[1]):
                    m.d.sync += self.stop.eq(1)
                    with m.If(~failing):
                        m.d.sync += [self.busy.eq(0), self.done.eq(1), self.finished.eq(1)]
                    m.next = "Drain"
            with m.State("Fail"):
                # One cycle later than the stop, so that what it catches is counted as busy.
                m.next = "Drain"
            with m.State("Drain"):
                with m.If(~self.bus_busy):
                    m.next = "Idle"
                    with m.If((self.cause != ErrorCause.NONE) & ~self.error):
                        m.d.sync += [self.busy.eq(0), self.error.eq(1), self.finished.eq(1)]
        return m
