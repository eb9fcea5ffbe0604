"""Inserts tokens: every access waits for exactly what it conflicts with on other threads.

Instructions are taken in program order. A vector of known events per thread removes every wait that follows from
earlier ones. One counter serves one (event, waiting thread) pair: events of a kind happen in order and a thread
waits for ever later ones, so the n-th token belongs to the n-th wait. Every token is added by an earlier instruction
than the one that waits for it, so in-order dispatch with queues of any depth cannot deadlock.
"""

from dataclasses import dataclass

import numpy as np

from weft.hw import isa
from weft.hw.errors import CompileError

from .builder import Item
from .events import IMPLIES, THREAD_OF, Event, Space, Storage, Thread

__all__ = ["assign_tokens", "TOKENS_AHEAD"]

#: Most tokens of one counter that may be waiting at once in program order; leaves room for queued instructions.
TOKENS_AHEAD = 220
#: Who waits for something longer ago than so many events of the kind waits for this many ago instead: it has happened
#: as well, and one token then serves many waits (rows of one token come round the accumulators a thousand products
#: later).
_LONG_AGO = 64

_SIGNAL_FIELD = {Event.LOADED: "signal", Event.STORED: "signal", Event.WEIGHTS: "w_signal", Event.ROWS: "a_signal",
                 Event.SUMS: "acc_signal", Event.SOURCE: "src_signal", Event.RESULT: "dst_signal"}
#: Events to announce instead, when the event's own field is taken.
_LATER = {Event.WEIGHTS: (Event.SUMS,), Event.ROWS: (Event.SUMS,), Event.SOURCE: (Event.RESULT,)}
_SYNC = {Thread.LOAD: "LOAD_SYNC", Thread.TENSOR: "TENSOR_SYNC", Thread.WEIGHTS: "TENSOR_SYNC",
         Thread.VECTOR: "VECTOR_SYNC", Thread.STORE: "STORE_SYNC"}
_EVENTS = len(Event)


@dataclass
class _Need:
    event: Event
    number: int
    #: Only the destination waits for it (vector instructions).
    late: bool


class _Assigner:
    def __init__(self, items, sizes):
        self.items = items
        self.storage = Storage(sizes)
        self.known = np.full((len(Thread), _EVENTS), -1, np.int64)
        # What a thread knew when it announced an event of instruction n: filled per (number, event).
        self.knew = {}
        self.counters = {}
        self.happened = {event: [] for event in Event}
        self.tokens = [{} for _ in items]
        self.before = [[] for _ in items]
        self.after = [[] for _ in items]

    def counter(self, event, thread):
        key = (event, thread)
        if key not in self.counters:
            number = len(self.counters) + 1
            if number >= isa.SEMAPHORES:
                raise CompileError(f"the program needs more than {isa.SEMAPHORES - 1} token counters")
            self.counters[key] = number
        return self.counters[key]

    def announce(self, event, number, thread):
        """Makes instruction ``number`` add a token for ``thread``; returns ``(event announced, counter)``."""
        item = self.items[number]
        fields = isa.INSTRUCTIONS[item.mnemonic].fields
        for candidate in (event, *_LATER.get(event, ())):
            name = _SIGNAL_FIELD[candidate]
            if name in fields and name not in self.tokens[number]:
                self.tokens[number][name] = self.counter(candidate, thread)
                return candidate, self.tokens[number][name]
        if event == Event.SUMS:
            raise CompileError(f"{item.mnemonic} {number}: accumulators have more than one reader")
        counter = self.counter(event, thread)
        self.after[number].append((_SYNC[THREAD_OF[event]], dict(signal=counter, signal_count=1)))
        return event, counter

    def covering(self, event, number):
        """The instruction to wait for where ``event`` of instruction ``number`` is needed."""
        happened = self.happened[event]
        return max(number, happened[-_LONG_AGO]) if len(happened) >= _LONG_AGO else number

    def learn(self, thread, event, number):
        """``thread`` knows that ``event`` of instruction ``number`` has happened."""
        known = self.known[thread]
        for e in (event, *IMPLIES.get(event, ())):
            known[e] = max(known[e], number)
            if (number, e) in self.knew:
                np.maximum(known, self.knew[number, e], out=known)

    def needs(self, item, thread):
        found = {}
        for access in item.accesses:
            if THREAD_OF[access.event] != thread:
                continue
            late = thread == Thread.VECTOR and access.write and access.space == Space.SCRATCHPAD
            for event, number in self.storage.needs(access.space, access.words, access.write, thread).items():
                need = found.get(event)
                if need is None or number > need.number:
                    found[event] = _Need(event, number, late and (need is None or need.late))
                elif not late:
                    need.late = False
        return sorted(found.values(), key=lambda n: -n.number)

    def wait(self, position, thread, needs, fields):
        """Puts the waits of one thread of an instruction into its fields, the rest into SYNCs in front of it."""
        item = self.items[position]
        free = [f for f in fields if f in isa.INSTRUCTIONS[item.mnemonic].fields]
        early_known = None
        for late in (False, True):
            for need in needs:
                if need.late != late or self.known[thread][need.event] >= need.number:
                    continue
                usable = [f for f in free if late or f != "dst_wait"]
                number = self.covering(need.event, need.number)
                if usable:
                    name = "dst_wait" if late and "dst_wait" in usable else usable[0]
                    event, counter = self.announce(need.event, number, thread)
                    self.tokens[position][name] = counter
                    free.remove(name)
                else:
                    # The loader has no SYNC of its own: the streamer waits and holds it.
                    waiter = Thread.TENSOR if thread == Thread.WEIGHTS else thread
                    event, counter = self.announce(need.event, number, waiter)
                    self.before[position].append((_SYNC[thread], dict(wait=counter, wait_count=1)))
                    if waiter != thread:
                        self.learn(waiter, event, number)
                        np.maximum(self.known[thread], self.known[waiter], out=self.known[thread])
                self.learn(thread, event, number)
            if not late:
                early_known = self.known[thread].copy()
        return early_known

    def run(self):
        for position, item in enumerate(self.items):
            thread = item.thread
            if thread == Thread.TENSOR:
                self.wait(position, Thread.WEIGHTS, self.needs(item, Thread.WEIGHTS), ["w_wait"])
                self.knew[position, Event.WEIGHTS] = self.known[Thread.WEIGHTS].copy()
                # The streamer reads rows ahead of their tiles, so it knows nothing of what the loader waited for;
                # but sums follow both.
                self.wait(position, thread, self.needs(item, thread), ["a_wait", "acc_wait"])
                self.knew[position, Event.ROWS] = self.known[thread].copy()
                self.knew[position, Event.SUMS] = np.maximum(self.known[thread], self.known[Thread.WEIGHTS])
            elif thread == Thread.VECTOR:
                early = self.wait(position, thread, self.needs(item, thread), ["src_wait", "dst_wait"])
                self.knew[position, Event.SOURCE] = early
                self.knew[position, Event.RESULT] = self.known[thread].copy()
            else:
                self.wait(position, thread, self.needs(item, thread), ["wait"])
                event = Event.LOADED if thread == Thread.LOAD else Event.STORED
                self.knew[position, event] = self.known[thread].copy()
            for event, field in _SIGNAL_FIELD.items():
                if THREAD_OF[event] == thread or (thread == Thread.TENSOR and event == Event.WEIGHTS):
                    if field in isa.INSTRUCTIONS[item.mnemonic].fields:
                        self.happened[event].append(position)
            for access in item.accesses:
                self.storage.touch(access.space, access.words, access.write, access.event, position)
        program = []
        for item, tokens, before, after in zip(self.items, self.tokens, self.before, self.after):
            program += [Item(m, f, [], item.source) for m, f in before]
            program.append(Item(item.mnemonic, {**item.fields, **tokens}, [], item.source, item.relocate, item.result))
            program += [Item(m, f, [], item.source) for m, f in after]
        self.check_levels(program)
        return program

    @staticmethod
    def check_levels(program):
        """No counter may overflow however far a producer runs ahead of the queues."""
        level = np.zeros(isa.SEMAPHORES, np.int64)
        for item in program:
            for name, counter in item.fields.items():
                if name == "wait" or name.endswith("_wait"):
                    level[counter] -= 1
                elif name == "signal" or name.endswith("_signal"):
                    level[counter] += 1
                    if level[counter] > TOKENS_AHEAD and counter:
                        raise CompileError(f"{item.source}: {item.mnemonic} runs more than {TOKENS_AHEAD} tokens ahead")


def assign_tokens(items, sizes):
    """Program of ``items`` (`weft.lower.builder.Item`, in program order) with all tokens.

    ``sizes``: words of each `Space`. Returns a list of `Item` without accesses.
    Raises CompileError if the token counters do not suffice.
    """
    return _Assigner(items, sizes).run()
