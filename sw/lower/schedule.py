"""Program order: loads move forward to where the words they overwrite are last used.

The order of emission is the meaning of the program; a load changes nothing but the words it writes, so it may be
dispatched as soon as the last instruction that touches these words has been. The load engine then runs as far
ahead as the scratchpad allows, across layers, while every instruction still waits only for what it needs.
"""

from .events import Storage
from .tokens import assign_tokens

__all__ = ["advance_loads", "schedule", "LOADS_AHEAD"]

#: Most loads that wait to be used at any point of the program order.
LOADS_AHEAD = 96


def advance_loads(items, sizes):
    """``items`` with every LOAD moved to right behind the last instruction it conflicts with."""
    storage = Storage(sizes)
    keys, loads = [], []
    for number, item in enumerate(items):
        if item.mnemonic != "LOAD":
            keys.append((number, 0, number))
        else:
            after = -1 if len(loads) < LOADS_AHEAD else loads[-LOADS_AHEAD]
            for access in item.accesses:
                for other in storage.needs(access.space, access.words, access.write, None).values():
                    after = max(after, keys[other][0])
            keys.append((after, 1, number))
            loads.append(number)
        for access in item.accesses:
            storage.touch(access.space, access.words, access.write, access.event, number)
    return [items[key[2]] for key in sorted(keys)]


def schedule(items, sizes):
    """Instructions with tokens, in program order (list of `weft.lower.builder.Item`), without END."""
    return assign_tokens(advance_loads(items, sizes), sizes)
