"""Program order: loads move forward to where the words they overwrite are free, the rest follows expected time.

The order of emission is the meaning of the program. A load of constants or inputs changes nothing but the words it writes, so
it may start as soon as the last instruction that touches these words has finished: the load engine runs as far ahead
as the scratchpad allows, across layers. All instructions are then put into the order in which they are expected to
start, so that the in-order dispatcher never stands in front of a full queue while another engine could work.
"""

from dataclasses import dataclass

import numpy as np

from .cost import timing
from .events import THREAD_OF, Event, Space, Storage, Thread
from .tokens import assign_tokens

__all__ = ["Estimate", "advance_loads", "by_start", "schedule", "LOADS_AHEAD"]

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


def advance_loads(items, sizes, estimate=None):
    """``items`` with every load of constants and inputs moved to right behind the last instruction it conflicts with.

    ``estimate``: times of such an order (`Estimate`). Loads of what the program stored before are needed soon when they
    can start at last, so no load that starts later than that overtakes them.
    """
    storage = Storage(sizes)
    urgent = []
    movable = _movable(items, sizes)
    keys, loads, gathered = [], [], -1
    for number, item in enumerate(items):
        if not movable[number]:
            keys.append((number, 0, number))
            if item.mnemonic in ("INDEX", "GATHER"):
                gathered = number
            elif item.mnemonic == "LOAD" and estimate is not None:
                urgent.append((number, estimate.ready[id(item)]))
        else:
            after = -1 if len(loads) < LOADS_AHEAD else loads[-LOADS_AHEAD]
            after = max(after, gathered)            # what the program starts with comes first
            if estimate is not None:
                start = estimate.start[id(item)]
                after = max([after, *(load for load, ready in urgent[-LOADS_AHEAD:] if ready <= start)])
            for access in item.accesses:
                for other in storage.needs(access.space, access.words, access.write, None).values():
                    after = max(after, keys[other][0])
            keys.append((after, 1, number))
            loads.append(number)
        for access in item.accesses:
            storage.touch(access.space, access.words, access.write, access.event, number)
    return [items[key[2]] for key in sorted(keys)]


@dataclass
class Estimate:
    """Expected cycles by ``id`` of an item, if every engine does its instructions in the order given: ``start``, and
    from when on nothing but its own engine holds it, ``ready``. ``order``: the items as they start."""
    start: dict
    ready: dict
    order: list


def by_start(items, sizes, config):
    """The `Estimate` of ``items``."""
    storage = Storage(sizes)
    free = dict.fromkeys(Thread, 0)
    happened = {event: [] for event in Event}
    estimate, keys = Estimate({}, {}, []), []
    bus = 0
    for number, item in enumerate(items):
        cost = timing(config, item)
        ready, behind = 0, -1
        for access in item.accesses:
            found = storage.needs(access.space, access.words, access.write, THREAD_OF[access.event])
            for event, other in found.items():
                ready = max(ready, happened[event][other])
                behind = max(behind, keys[other][0])
        start = max(free[item.thread], ready)
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
        estimate.start[id(item)], estimate.ready[id(item)] = start, ready
        key = max(behind, start - _LEAD) if item.thread == Thread.LOAD else start
        keys.append((max(key, behind), number))
        for access in item.accesses:
            storage.touch(access.space, access.words, access.write, access.event, number)
    latest = dict.fromkeys(Thread, -1)
    for number, item in enumerate(items):           # each engine keeps its order
        latest[item.thread] = max(latest[item.thread], keys[number][0])
        keys[number] = (latest[item.thread], number)
    estimate.order = [items[number] for _, number in sorted(keys)]
    return estimate


def schedule(items, sizes, config):
    """Instructions with tokens, in program order (list of `weft.lower.builder.Item`), without END."""
    estimate = by_start(advance_loads(items, sizes), sizes, config)
    if not all(movable or item.mnemonic != "LOAD" for movable, item in zip(_movable(items, sizes), items)):
        estimate = by_start(advance_loads(items, sizes, estimate), sizes, config)
    return assign_tokens(estimate.order, sizes)
