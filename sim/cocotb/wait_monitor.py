"""Whether threads keep their side of `TokenWait`, which the token counters rely on."""

from amaranth.hdl import Signal

__all__ = ["watch_waits"]


def watch_waits(m, waits):
    """A register in module ``m`` with a bit for each of the ``waits`` (TokenWait), which stays high once a thread consumes what
    is not available or of another counter than in the cycle before, or turns to another counter in the cycle after."""
    broken = Signal(len(waits))
    for wait, bit in zip(waits, broken, strict=True):
        before, consumed = Signal.like(wait.id), Signal()
        m.d.sync += [before.eq(wait.id), consumed.eq(wait.consume)]
        with m.If((wait.consume & ~wait.available) | ((wait.consume | consumed) & (wait.id != before))):
            m.d.sync += bit.eq(1)
    return broken
