"""Program order: loads move forward to where the words they overwrite are free, the rest follows expected time.

The order of emission is the meaning of the program. Where instructions touch no common words it may change: a load
may start as soon as the last instruction that touches its words has finished, so the load engine runs as far ahead as the
scratchpad allows, across layers. Who comes first is decided by simulating the engines roughly (`cost.py`). All
instructions are then put into the order in which they are expected to start, so that the in-order dispatcher never
stands in front of a full queue while another engine could work.
"""

import heapq
from collections import deque

from .cost import MEMORY_LATENCY, timing
from .events import THREAD_OF, Storage, Thread
from .tokens import assign_tokens

__all__ = ["by_start", "schedule", "LOADS_AHEAD"]

#: Most loads, in order of emission, among which the next one is chosen.
LOADS_AHEAD = 96
#: Cycles that a load is dispatched before it is expected to start.
_LEAD = 64
#: Cycles of data on the bus that the load engine has requested ahead.
_BUS_AHEAD = 256
#: Loads whose order the index memory fixes.
_GATHERS = ("INDEX", "GATHER")


def _dependencies(items, sizes):
    """For each instruction the earlier ones that it waits for, ``{(event or None, number)}``.

    Of the same thread only for loads, which change their order; without event: must only come before.
    """
    storage = Storage(sizes)
    result, gathered = [], None
    for number, item in enumerate(items):
        load = item.thread == Thread.LOAD
        needs = set()
        for access in item.accesses:
            thread = THREAD_OF[access.event]
            found = storage.needs(access.space, access.words, access.write, None if load else thread)
            needs.update((None if THREAD_OF[event] == thread else event, other) for event, other in found.items())
            if load and access.write:
                # Loads change their order, and not each of them has a reader that keeps it in front.
                needs.update((None, other) for other in storage.writers(access.space, access.words, access.event))
        if item.mnemonic in _GATHERS:
            if gathered is not None:
                needs.add((None, gathered))
            gathered = number
        result.append(needs)
        for access in item.accesses:
            storage.touch(access.space, access.words, access.write, access.event, number)
    return result


class _Simulation:
    """Engines that take instructions at the expected times: all but the load engine in order of emission, that one what is
    ready, first emitted first."""

    def __init__(self, items, sizes, config):
        self.items, self.config = items, config
        self.needs = _dependencies(items, sizes)
        self.open = [len(needs) for needs in self.needs]        # needs that have no time yet
        self.dependents = [[] for _ in items]
        for number, needs in enumerate(self.needs):
            for _, other in needs:
                self.dependents[other].append(number)
        self.ready = [0] * len(items)
        self.start = [None] * len(items)
        self.finish = [None] * len(items)
        self.free = dict.fromkeys(Thread, 0)
        self.bus = 0
        self.queues = {thread: deque() for thread in (Thread.TENSOR, Thread.VECTOR, Thread.STORE)}
        self.loads, self.admitted, self.oldest = [], set(), 0
        for number, item in enumerate(items):
            (self.loads if item.thread == Thread.LOAD else self.queues[item.thread]).append(number)
        self.coming, self.present = [], []          # loads that are ready: ``(cycle, number)`` later, ``number`` now
        #: Instructions in the order in which they started.
        self.order = []

    def run(self):
        self.admit()
        while len(self.order) < len(self.items):
            self.take(*min(self.candidates()))
        return self

    def admit(self):
        """Lets loads take part that are not too far from the oldest one left."""
        while self.oldest < len(self.loads) and self.start[self.loads[self.oldest]] is not None:
            self.oldest += 1
        for place in range(self.oldest, min(self.oldest + LOADS_AHEAD, len(self.loads))):
            number = self.loads[place]
            if number not in self.admitted:
                self.admitted.add(number)
                if not self.open[number]:
                    heapq.heappush(self.coming, (self.ready[number], number))

    def candidates(self):
        """``(cycle, number)`` of what each engine could take next."""
        for thread, queue in self.queues.items():
            if queue and not self.open[queue[0]]:
                yield max(self.free[thread], self.ready[queue[0]]), queue[0]
        now = self.free[Thread.LOAD]
        while self.coming and self.coming[0][0] <= now:
            heapq.heappush(self.present, heapq.heappop(self.coming)[1])
        if self.present:
            yield now, self.present[0]
        elif self.coming:
            yield self.coming[0]

    def take(self, start, number):
        """``number`` starts."""
        item = self.items[number]
        cost = timing(self.config, item)
        late = 0
        if item.thread == Thread.LOAD:
            if self.present:
                heapq.heappop(self.present)
            else:
                heapq.heappop(self.coming)
            # Data follow each other on the bus; addresses run ahead of them.
            late = max(0, self.bus - start - MEMORY_LATENCY)
            self.bus = max(self.bus, start + MEMORY_LATENCY) + cost.bus
            self.free[item.thread] = max(start + 1, self.bus - _BUS_AHEAD)
        else:
            self.queues[item.thread].popleft()
            self.free[item.thread] = start + cost.busy
        self.start[number] = start
        self.finish[number] = {event: start + late + after for event, after in cost.events.items()}
        self.order.append(number)
        for other in self.dependents[number]:
            self.open[other] -= 1
            if not self.open[other]:
                self.ready[other] = max((self.finish[n].get(event, self.start[n]) for event, n in self.needs[other]))
                if other in self.admitted:
                    heapq.heappush(self.coming, (self.ready[other], other))
        if item.thread == Thread.LOAD:
            self.admit()


def by_start(items, sizes, config):
    """``items`` in the order in which they are expected to start."""
    simulation = _Simulation(items, sizes, config).run()
    keys, latest = [None] * len(items), dict.fromkeys(Thread, -1)
    before = deque([0] * (config.queue_depth + 1), config.queue_depth + 1)      # starts of loads that leave no room
    for place, number in enumerate(simulation.order):
        start, thread = simulation.start[number], items[number].thread
        key = max((keys[other][0] for _, other in simulation.needs[number]), default=-1)
        if thread == Thread.LOAD:
            start = max(start - _LEAD, before[0])
            before.append(simulation.start[number])
        key = max(key, start, latest[thread])
        latest[thread] = key
        keys[number] = key, place
    return [items[number] for number in sorted(range(len(items)), key=keys.__getitem__)]


def schedule(items, sizes, config):
    """Instructions with tokens, in program order (list of `weft.lower.builder.Item`), without END."""
    return assign_tokens(by_start(items, sizes, config), sizes)
