"""Why a thread stands still, and which layer each cycle is spent on."""

from dataclasses import dataclass

import numpy as np

from weft.hw.control.register_map import THREADS
from weft.hw.control.unit import TOKEN_PORTS
from weft.hw.interfaces import ThreadState

__all__ = ["CAUSES", "WORK", "Runs", "Released", "runs", "releases", "Blame", "blame"]

#: What a thread does, by its state's number.
CAUSES = tuple(state.name.lower() for state in ThreadState)
#: What a cycle is spent on, in the end: the thread that everybody waits for, or the dispatcher.
WORK = ("tensor", "weights", "vector", "load", "store", "dispatch")

_IDLE, _TOKEN, _WEIGHTS = (ThreadState[name].value for name in ("IDLE", "WAIT_TOKEN", "WAIT_WEIGHTS"))
_DISPATCH = WORK.index("dispatch")


@dataclass(frozen=True)
class Runs:
    """Stretches of equal state of a thread, without a gap: ``starts``, ``ends``, ``states``, ``semaphores`` (0 unless the
    thread waits for a token), int64[n]."""
    starts: np.ndarray
    ends: np.ndarray
    states: np.ndarray
    semaphores: np.ndarray

    def cycles(self, state):
        """Cycles in a state, by number."""
        return int((self.ends - self.starts)[self.states == state].sum())


def runs(recording, thread):
    """The `Runs` of a thread; the counter waited for means nothing in other states, whose stretches are joined."""
    starts, values = recording.tracks[thread]
    states = values & 7
    semaphores = np.where(states == _TOKEN, values >> 3, 0)
    change = np.append(True, (np.diff(states) != 0) | (np.diff(semaphores) != 0)) if len(states) else np.empty(0, bool)
    starts = starts[change]
    return Runs(starts, np.append(starts[1:], recording.cycles), states[change], semaphores[change])


@dataclass(frozen=True)
class Released:
    """For each of a thread's `Runs` that waits for a token: the thread that gave it (index in THREADS), the index of the
    instruction in that thread's `Slices`, the cycle; all -1 for other runs and for tokens that never came."""
    threads: np.ndarray
    slices: np.ndarray
    cycles: np.ndarray


def releases(recording, code, slices, thread_runs):
    """The `Released` of a thread.

    A thread that waits finds its counter empty, so the token that ends the wait is the last one added before the end.
    """
    threads, where, cycles = (np.full(len(thread_runs.starts), -1, np.int64) for _ in range(3))
    # Sums take their way through the array; a later instruction may have begun when the token of an earlier one comes.
    config = code.image.config
    latency = {"accumulators": config.rows + config.cols}
    for port, owner in TOKEN_PORTS.items():
        when, semaphores = recording.tracks[f"{port} signal"]
        theirs, owner = slices[owner], THREADS.index(owner)
        for number in np.unique(semaphores):
            waits = np.flatnonzero((thread_runs.states == _TOKEN) & (thread_runs.semaphores == number))
            given = when[semaphores == number]
            last = np.searchsorted(given, thread_runs.ends[waits], "right") - 1
            # A token from before the wait was taken before it, unless another thread's port gave this one.
            came = (last >= 0) & (given[last] >= thread_runs.starts[waits] - 2) & (given[last] > cycles[waits])
            waits, at = waits[came], given[last[came]]
            signalling = np.array([n for n, pc in enumerate(theirs.pcs.tolist()) if number in code.semaphores(pc)],
                                  np.int64)
            if not len(signalling):
                continue
            begun = np.searchsorted(theirs.starts[signalling], at - latency.get(port, 0), "right") - 1
            threads[waits], cycles[waits] = owner, at
            where[waits] = signalling[np.maximum(begun, 0)]
    return Released(threads, where, cycles)


@dataclass(frozen=True)
class Blame:
    """For every stretch of cycles (``starts``, ``ends``) what it was spent on: ``work`` (index in WORK) and ``layers``."""
    starts: np.ndarray
    ends: np.ndarray
    work: np.ndarray
    layers: np.ndarray


def blame(recording, code, slices, states, released):
    """Follows who waits for whom, from the array on, in every cycle.

    The row streamer is asked first; where it has no instruction, the first of vector, store and load engine that has. Who
    waits for a token leads to who gives it, who waits for weights to the weight loader; what is found last is at work, or
    has not got its instruction yet: then the dispatcher is. The cycle belongs to the layer of the instruction found.
    """
    edges = np.unique(np.concatenate([r.starts for r in states.values()] + [s.starts for s in slices.values()]
                                     + [s.ends for s in slices.values()] + [recording.tracks["dispatch pc"][0], [0]]))
    starts = edges[edges < recording.cycles]
    ends = np.append(starts[1:], recording.cycles)

    state, leads = {}, {}
    for number, thread in enumerate(THREADS):
        at = np.searchsorted(states[thread].starts, starts, "right") - 1
        state[number] = states[thread].states[at]
        leads[number] = np.where(state[number] == _TOKEN, released[thread].threads[at], -1)
    tensor, weights = THREADS.index("tensor"), THREADS.index("weights")
    leads[tensor] = np.where(state[tensor] == _WEIGHTS, weights, leads[tensor])

    here = np.full(len(starts), -1, np.int64)
    for thread in ("tensor", "vector", "store", "load"):
        number = THREADS.index(thread)
        here = np.where((here < 0) & (state[number] != _IDLE), number, here)
    for _ in THREADS:           # no chain is longer; who waits for each other in a ring is caught half way
        following = here.copy()
        for number in range(len(THREADS)):
            follow = (here == number) & (leads[number] >= 0)
            following[follow] = leads[number][follow]
        here = following

    pcs, arrivals = recording.tracks["dispatch pc"][::-1]
    dispatching = np.searchsorted(arrivals, starts, "right") - 1
    layers = code.layer_of[pcs[np.maximum(dispatching, 0)]]
    work = np.full(len(starts), _DISPATCH, np.int64)
    for number, thread in enumerate(THREADS):
        if not len(slices[thread].pcs):
            continue
        mine = (here == number) & (state[number] != _IDLE)
        work[mine] = WORK.index(thread)
        layers[mine] = code.layer_of[slices[thread].pcs[slices[thread].at(starts[mine])]]
    return Blame(starts, ends, work, layers)
