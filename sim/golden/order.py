"""Happens-before between the accelerator's threads, and what each word was last used for.

Vector clocks: a token carries what its sender knew, a consumer learns it. Two accesses of one word (or memory granule) of
which one writes are a race unless the later one's thread knew of the earlier one. Everything here is symbolic: no
data is looked at.
"""

from bisect import bisect_left, bisect_right
from collections import deque

import numpy as np

from weft.hw import isa

__all__ = ["BEYOND_QUEUE", "Component", "THREADS", "Clocks", "Space", "Counters"]


class Component:
    """Components of a clock. Results of the streamer and of the vector engine leave their pipelines later than the last
    read, so writes count as components of their own: a signal after the last read does not cover them."""
    LOAD, WEIGHTS, STREAM, RESULTS, VECTOR, VECTOR_WRITES, STORE = range(7)
    COUNT = 7
    NAMES = ("load engine", "weight loader", "row streamer", "row streamer", "vector engine", "vector engine",
             "store engine")


#: Components that a thread need not wait for (its own program order), by the component it reads under.
THREADS = {
    Component.LOAD: (Component.LOAD,),
    Component.WEIGHTS: (Component.WEIGHTS,),
    Component.STREAM: (Component.STREAM, Component.RESULTS),
    Component.VECTOR: (Component.VECTOR, Component.VECTOR_WRITES),
    Component.STORE: (Component.STORE,),
}

#: The queue that each thread is fed from.
_QUEUE = {Component.LOAD: isa.Engine.LOAD, Component.WEIGHTS: isa.Engine.TENSOR, Component.STREAM: isa.Engine.TENSOR,
          Component.VECTOR: isa.Engine.VECTOR, Component.STORE: isa.Engine.STORE}
#: Instructions of one engine that have left its queue and may still have tokens to take; hardware has one to three.
BEYOND_QUEUE = 8

_ALWAYS = np.int32(2 ** 31 - 1)


class Clocks:
    """What each thread knows of the others, int32 for each component."""

    def __init__(self):
        self.time = np.ones(Component.COUNT, np.int32)
        self.seen = {t: np.zeros(Component.COUNT, np.int32) for t in THREADS}
        #: As ``seen``, with the thread's own components known for ever.
        self.effective = {}
        for t in THREADS:
            self._refresh(t)

    def _refresh(self, thread):
        effective = self.seen[thread].copy()
        effective[list(THREADS[thread])] = _ALWAYS
        self.effective[thread] = effective

    def publish(self, thread, writes=True):
        """What a token sent now by ``thread`` carries; ``writes``: its results have been written."""
        clock = self.seen[thread].copy()
        for component in THREADS[thread] if writes else THREADS[thread][:1]:
            clock[component] = self.time[component]
            self.time[component] += 1
        return clock

    def join(self, thread, clock):
        """``thread`` learns what ``clock`` knows."""
        np.maximum(self.seen[thread], clock, out=self.seen[thread])
        self._refresh(thread)

    def join_all(self):
        """A barrier: every thread knows everything so far."""
        for t in THREADS:
            self.seen[t][:] = self.time
            self._refresh(t)
        self.time += 1


class Space:
    """One memory: for each word its last writer and last readers.

    ``positions``: place in the plan of execution of the last writer and of each component's last reader (-1: none).
    """

    def __init__(self, name, unit, size):
        self.name, self.unit, self.size = name, unit, size
        self.writer = np.zeros(size, np.uint8)
        self.written = np.full(size, -1, np.int32)          # time; -1: never
        self.write_position = np.full(size, -1, np.int32)
        self.read = np.full((Component.COUNT, size), -1, np.int32)
        self.read_position = np.full((Component.COUNT, size), -1, np.int32)

    def check_range(self, operation, index, verb):
        if index.size and (index.min() < 0 or index.max() >= self.size):
            bad = index.max() if index.max() >= self.size else index.min()
            raise operation.error(f"{verb} {self.name} {self.unit} {bad}, the last one is {self.size - 1}")

    def check_read(self, operation, index, clock, name):
        """Raises for words out of range, never written, or written by a thread not waited for."""
        self.check_range(operation, index, "reads")
        written = self.written[index]
        if (written < 0).any():
            bad = name(index[written < 0].flat[0])
            raise operation.error(f"reads {self.name} {self.unit} {bad}, which nothing has written")
        early = written > clock[self.writer[index]]
        if early.any():
            word = index[early].flat[0]
            raise operation.error(f"reads {self.name} {self.unit} {name(word)} while the "
                                  f"{Component.NAMES[self.writer[word]]} writes it: no token orders them")

    def check_write(self, operation, index, clock, name):
        """Raises for words out of range, or used by a thread not waited for."""
        self.check_range(operation, index, "writes")
        early = self.written[index] > clock[self.writer[index]]
        if early.any():
            word = index[early].flat[0]
            raise operation.error(f"writes {self.name} {self.unit} {name(word)} while the "
                                  f"{Component.NAMES[self.writer[word]]} writes it: no token orders them")
        early = self.read[:, index] > clock.reshape(-1, *(1,) * index.ndim)
        if early.any():
            component, *where = (a[0] for a in np.nonzero(early))
            word = index[tuple(where)]
            raise operation.error(f"writes {self.name} {self.unit} {name(word)} while the "
                                  f"{Component.NAMES[component]} reads it: no token orders them")

    def mark_read(self, index, component, time, position):
        self.read[component, index] = time
        # Positions of one thread only grow, but for reads that the plan resolves without it (-1).
        self.read_position[component, index] = np.maximum(self.read_position[component, index], position)

    def mark_write(self, index, component, time, position):
        self.writer[index] = component
        self.written[index] = time
        self.write_position[index] = position


class Counters:
    """The token counters: tokens in the order of their signals, who signals and who consumes.

    A consumer knows which token it got only if the signals of a counter are ordered among themselves; otherwise
    (or with a second consumer) the program is refused.

    ``operations``: all of the program, in the order of dispatch; ``queue_depth``: how many of them an engine's queue holds.
    """

    def __init__(self, clocks, operations, queue_depth):
        self._clocks = clocks
        self._dispatched = {engine: [o.number for o in operations if o.engine == engine] for engine in _QUEUE.values()}
        self._unfinished = queue_depth + BEYOND_QUEUE
        self._consumers = [[] for _ in range(isa.SEMAPHORES)]   # numbers of the operations that consumed
        self._tokens = [deque() for _ in range(isa.SEMAPHORES)]
        self._last = [None] * isa.SEMAPHORES                # component and time of the last signal
        self._consumer = [None] * isa.SEMAPHORES
        self._consumed = [[] for _ in range(isa.SEMAPHORES)]  # times of the consumer
        self._signals = [0] * isa.SEMAPHORES

    def available(self, number):
        return len(self._tokens[number])

    def consume(self, operation, number, thread):
        """Takes the oldest token; the thread learns what it carries."""
        if self._consumer[number] not in (None, thread):
            raise operation.error(f"consumes from semaphore {number}, which the "
                                  f"{Component.NAMES[self._consumer[number]]} consumes from")
        self._consumer[number] = thread
        self._consumed[number].append(int(self._clocks.time[thread]))
        self._consumers[number].append(operation.number)
        self._clocks.join(thread, self._tokens[number].popleft())

    def signal(self, operation, number, thread, writes=True, count=1, knows=None):
        """Adds ``count`` tokens, after everything the thread did so far (``writes``: its results included) and what the
        clock ``knows`` holds."""
        clock = self._clocks.publish(thread, writes)
        if knows is not None:
            np.maximum(clock, knows, out=clock)
        component = THREADS[thread][-1 if writes else 0]
        if self._last[number] is not None:
            other, time = self._last[number]
            if clock[other] < time:
                raise operation.error(f"signals semaphore {number} at the same time as the {Component.NAMES[other]}: "
                                      "its consumer cannot tell whose token it gets")
        self._last[number] = component, int(clock[component])
        self._signals[number] += count
        taken = self._certainly_consumed(operation, number, clock)
        if self._signals[number] - taken > isa.SEMAPHORE_LIMIT:
            raise operation.error(f"semaphore {number} can pass {isa.SEMAPHORE_LIMIT}: {self._signals[number]} tokens "
                                  f"signalled, {taken} certainly consumed")
        self._tokens[number].extend([clock] * count)

    def _certainly_consumed(self, operation, number, clock):
        """Tokens of a counter that are gone whenever ``operation`` signals, knowing ``clock``."""
        consumer = self._consumer[number]
        if consumer is None:
            return 0
        known = bisect_right(self._consumed[number], int(clock[consumer]))
        # Dispatch is in order: what the consumer's engine got before this operation is done, but for a queue full.
        dispatched = self._dispatched[_QUEUE[consumer]]
        done = bisect_left(dispatched, operation.number) - self._unfinished
        if done <= 0:
            return known
        return max(known, bisect_right(self._consumers[number], dispatched[done - 1]))
