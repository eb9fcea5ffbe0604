"""Token counters: when the n-th token of a counter can be consumed."""

from collections import deque

from weft.hw import isa
from weft.hw.errors import ProgramError

__all__ = ["Tokens"]

#: Cycles from a signal until its token can be consumed.
_DELAY = 2


class Tokens:
    """Cycles in which tokens were added, in order. Every token is added by an instruction earlier in program order
    than the one that consumes it, as `weft.lower.tokens` makes them."""

    def __init__(self):
        #: Called with a counter that has too few tokens: executes a deferred instruction that may add some, or is false.
        self.more = lambda counter: False
        self._added = [deque() for _ in range(isa.SEMAPHORES)]

    def signal(self, counter, cycle, count=1):
        """``count`` tokens, one a cycle from ``cycle`` on; counter 0 takes none."""
        if counter:
            self._added[counter].extend(range(cycle, cycle + count))

    def wait(self, counter, cycle, count=1):
        """First cycle from ``cycle`` on in which ``count`` tokens have been consumed, one a cycle; at once of counter 0.

        Raises ProgramError if the tokens come from later instructions.
        """
        if counter:
            added = self._added[counter]
            while len(added) < count:
                if self.more(counter):
                    continue
                raise ProgramError(f"an instruction waits for a token of counter {counter} that a later one adds; the "
                                   "performance model takes programs whose tokens come from earlier instructions")
            for number in range(count):
                cycle = max(cycle + (number > 0), added.popleft() + _DELAY)
        return cycle
