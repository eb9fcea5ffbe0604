"""Program order: loads move forward to where the words they overwrite are free, the rest follows expected time.

The order of emission is the meaning of the program. A load of constants or inputs changes nothing but the words it writes, so
it may start as soon as the last instruction that touches these words has finished: the load engine runs as far ahead
as the scratchpad allows, across layers. All instructions are then put into the order in which they are expected to
start, so that the in-order dispatcher never stands in front of a full queue while another engine could work.
"""

import numpy as np

from .cost import timing
from .events import THREAD_OF, Event, Space, Storage, Thread
from .tokens import assign_tokens

__all__ = ["advance_loads", "by_start", "schedule", "LOADS_AHEAD"]

#: Most loads that wait to be used at any point of the program order.
LOADS_AHEAD = 96
#: Cycles that a load is dispatched before it is expected to start.
_LEAD = 64
#: Cycles of data on the bus that the load engine has requested ahead.
_BUS_AHEAD = 256


def _movable(items, sizes):
    """For each instruction whether it is a load of words that the program never stores."""
    stored = np.zeros(sizes[Space.MEMORY], bool)
    for item in items:
        for access in item.accesses:
            if access.space == Space.MEMORY and access.write:
                stored[access.words] = True
    return [item.mnemonic == "LOAD" and not any(a.space == Space.MEMORY and stored[a.words].any() for a in item.accesses)
            for item in items]


def advance_loads(items, sizes):
    """``items`` with every load of constants and inputs moved to right behind the last instruction it conflicts with."""
    storage = Storage(sizes)
    movable = _movable(items, sizes)
    keys, loads, gathered = [], [], -1
    for number, item in enumerate(items):
        if not movable[number]:
            keys.append((number, 0, number))
            if item.mnemonic in ("INDEX", "GATHER"):
                gathered = number
        else:
            after = -1 if len(loads) < LOADS_AHEAD else loads[-LOADS_AHEAD]
            after = max(after, gathered)            # what the program starts with comes first
            for access in item.accesses:
                for other in storage.needs(access.space, access.words, access.write, None).values():
                    after = max(after, keys[other][0])
            keys.append((after, 1, number))
            loads.append(number)
        for access in item.accesses:
            storage.touch(access.space, access.words, access.write, access.event, number)
    return [items[key[2]] for key in sorted(keys)]


def by_start(items, sizes, config):
    """``items`` in the order in which they start if every engine does its instructions in the order given."""
    storage = Storage(sizes)
    free = dict.fromkeys(Thread, 0)
    happened = {event: [] for event in Event}
    starts, keys = [], []
    bus = 0
    for number, item in enumerate(items):
        cost = timing(config, item)
        start, behind = free[item.thread], -1
        for access in item.accesses:
            found = storage.needs(access.space, access.words, access.write, THREAD_OF[access.event])
            for event, other in found.items():
                start = max(start, happened[event][other])
                behind = max(behind, keys[other][0])
        if item.thread == Thread.LOAD and cost.bus:
            # Data follow each other on the bus; addresses run ahead of them.
            start = max(start, bus - _BUS_AHEAD)
            bus = max(bus, start) + cost.bus
            free[item.thread] = start + 1
            finish = {event: max(start + after, bus + after - cost.bus) for event, after in cost.events.items()}
        else:
            free[item.thread] = start + cost.busy
            finish = {event: start + after for event, after in cost.events.items()}
        for event in Event:
            happened[event].append(finish.get(event, start))
        starts.append(start)
        key = max(behind, start - _LEAD) if item.thread == Thread.LOAD else start
        keys.append((max(key, behind), number))
        for access in item.accesses:
            storage.touch(access.space, access.words, access.write, access.event, number)
    latest = dict.fromkeys(Thread, -1)
    for number, item in enumerate(items):           # each engine keeps its order
        latest[item.thread] = max(latest[item.thread], keys[number][0])
        keys[number] = (latest[item.thread], number)
    return [items[number] for _, number in sorted(keys)]


def schedule(items, sizes, config):
    """Instructions with tokens, in program order (list of `weft.lower.builder.Item`), without END."""
    return assign_tokens(by_start(advance_loads(items, sizes), sizes, config), sizes)
