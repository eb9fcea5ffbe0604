"""Threads of the machine, the events their instructions signal, and the storage that orders them.

Dependencies are tracked per word: for each storage and event, the last instruction that wrote and that read each
word. From this follows, for any access, which events of other threads it has to wait for; nothing is assumed
about tensors or layers, so instructions may be emitted and reordered freely.
"""

import enum

import numpy as np

__all__ = ["Thread", "Event", "Space", "THREAD_OF", "IMPLIES", "Storage"]


class Thread(enum.IntEnum):
    """Runs instructions in order; between threads only tokens order anything."""
    LOAD = 0
    WEIGHTS = 1
    TENSOR = 2
    VECTOR = 3
    STORE = 4


class Event(enum.IntEnum):
    """What a token can announce about an instruction; events of one kind happen in instruction order."""
    LOADED = 0      #: load: last write to the scratchpad (and last read of memory)
    WEIGHTS = 1     #: weight loader: stationary operand read
    ROWS = 2        #: row streamer: moving operand read
    SUMS = 3        #: row streamer: accumulators written
    SOURCE = 4      #: vector: source read
    RESULT = 5      #: vector: destination and state written, parameters read
    STORED = 6      #: store: scratchpad read, memory written and acknowledged


class Space(enum.IntEnum):
    """Storage that threads share."""
    SCRATCHPAD = 0
    ACCUMULATORS = 1
    STATE = 2
    MEMORY = 3


THREAD_OF = {Event.LOADED: Thread.LOAD, Event.WEIGHTS: Thread.WEIGHTS, Event.ROWS: Thread.TENSOR,
             Event.SUMS: Thread.TENSOR, Event.SOURCE: Thread.VECTOR, Event.RESULT: Thread.VECTOR,
             Event.STORED: Thread.STORE}

#: Events of the same instruction that have happened when the key has.
IMPLIES = {Event.SUMS: (Event.ROWS, Event.WEIGHTS), Event.RESULT: (Event.SOURCE,)}


class Storage:
    """Last writer and reader of every word, by event. ``sizes`` maps each `Space` to its words."""

    def __init__(self, sizes):
        self._sizes = sizes
        self._last = {}

    def _array(self, space, event, write):
        key = (space, event, write)
        if key not in self._last:
            self._last[key] = np.full(self._sizes[space], -1, np.int32)
        return self._last[key]

    def needs(self, space, words, write, thread):
        """Events that must have happened before ``thread`` touches ``words`` (an index): ``{event: number}``."""
        result = {}
        for (other, event, wrote), last in self._last.items():
            if other == space and (wrote or write) and THREAD_OF[event] != thread:
                number = int(last[words].max(initial=-1))
                if number >= 0 and number > result.get(event, -1):
                    result[event] = number
        return result

    def writers(self, space, words, event):
        """All instructions that wrote ``words`` last, of those that announce it by ``event``: their numbers."""
        last = self._last.get((space, event, True))
        return [] if last is None else [number for number in np.unique(last[words]).tolist() if number >= 0]

    def touch(self, space, words, write, event, number):
        """Instruction ``number`` accesses ``words`` and announces it by ``event``; numbers only grow."""
        self._array(space, event, write)[words] = number
