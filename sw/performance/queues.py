"""Queues in front of the engines: executed at once, or when what the others do meanwhile is known."""

from collections import deque

from weft.hw import isa

__all__ = ["DeferredQueue", "Queue"]

_SIGNALS = {name: tuple(field for field in instruction.fields if field == "signal" or field.endswith("_signal"))
            for name, instruction in isa.INSTRUCTIONS.items()}


class Queue:
    """A queue in front of an engine, with room again when an instruction leaves."""

    def __init__(self, engine, depth):
        self.engine = engine
        self._left = deque([0] * depth, depth)

    def put(self, name, fields, cycle):
        """An instruction that is to enter the queue from ``cycle`` on: the cycle in which it does."""
        cycle = max(cycle, self._left[0] + 1)
        self._left.append(self.engine.take(name, fields, cycle + 1))
        return cycle


class DeferredQueue:
    """As `Queue`, but an instruction is executed no sooner than another thread needs to know when: its token, or the
    room that it leaves. Whatever can run beside it has been executed by then, as far as the program has been read."""

    def __init__(self, engine, depth):
        self.engine = engine
        self._depth = depth
        self._left = deque([0] * depth, depth)      # of executed instructions
        self._waiting = deque()
        self._executing = False

    def put(self, name, fields, cycle):
        while len(self._waiting) > self._depth:
            self.execute()
        if len(self._waiting) == self._depth:
            # When the oldest one leaves is known without its execution.
            left = max(self._waiting[0][2], self.engine.free)
        else:
            left = self._left[len(self._waiting)]
        cycle = max(cycle, left + 1)
        self._waiting.append((name, fields, cycle + 1))
        return cycle

    def execute(self):
        """Executes the oldest instruction."""
        self._executing = True
        self._left.append(self.engine.take(*self._waiting.popleft()))
        self._executing = False

    def drain(self):
        """Executes all."""
        while self._waiting:
            self.execute()

    def signals(self, counter):
        """Executes an instruction if one that waits adds to a counter; whether there is one."""
        if self._executing or not any(fields[field] == counter for name, fields, _ in self._waiting
                                      for field in _SIGNALS[name]):
            return False
        self.execute()
        return True
