"""The trace: Chrome's trace event format, as Perfetto and chrome://tracing read it.

One cycle is one microsecond there, so that every time is a whole number. The format is described in Google's document
"Trace Event Format"; used are complete events (X), counters (C), flows (s, f) and metadata (M).
"""

import numpy as np

from weft.hw.control.register_map import THREADS
from weft.hw.interfaces import ThreadState

from .instructions import executed
from .stalls import CAUSES

__all__ = ["trace_events"]

_TOKEN, _BUSY, _IDLE = (ThreadState[name].value for name in ("WAIT_TOKEN", "BUSY", "IDLE"))
#: Waits for tokens of at least so many cycles get an arrow from the instruction that gave the token.
_ARROW_CYCLES = 8
#: Values of a counter over a run, at most.
_COUNTED = 1 << 15
#: Rows from top to bottom; "dispatch" shows the instruction that the dispatcher has at hand.
_ROWS = ("dispatch", *THREADS)


def _row(process, name):
    """Thread number of a row: Perfetto takes number 0 for the idle thread, and numbers for the whole trace's."""
    return 10 * process + _ROWS.index(name)


def trace_events(profiles):
    """The trace of `Profile`s, each a process of its own, as a JSON object."""
    events = []
    for process, profile in enumerate(profiles, 1):
        events += _process(profile, process)
    return {"traceEvents": events, "displayTimeUnit": "ns",
            "otherData": {"unit": "1 us of the trace is 1 cycle", "configuration": profiles[0].config.name}}


def _process(profile, process):
    yield {"ph": "M", "pid": process, "name": "process_name", "args": {"name": profile.title}}
    for number, name in enumerate(_ROWS):
        row = _row(process, name)
        yield {"ph": "M", "pid": process, "tid": row, "name": "thread_name", "args": {"name": name}}
        yield {"ph": "M", "pid": process, "tid": row, "name": "thread_sort_index", "args": {"sort_index": number}}
    yield from _dispatch(profile, process)
    for thread in THREADS:
        yield from _instructions(profile, process, thread)
        yield from _stalls(profile, process, thread)
    yield from _counters(profile, process)


def _slice(process, row, category, name, start, end, args):
    return {"ph": "X", "pid": process, "tid": _row(process, row), "cat": category, "name": name, "ts": int(start),
            "dur": int(end - start), "args": args}


def _dispatch(profile, process):
    code = profile.code
    pcs, arrivals = executed(profile.recording)
    ends = np.append(arrivals[1:], profile.recording.cycles)
    for pc, start, end in zip(pcs.tolist(), arrivals.tolist(), ends.tolist()):
        instruction, fields = code[pc]
        args = {"instruction": pc}
        if instruction.engine == 0:     # the others show their fields where they run
            args |= {name: value for name, value in fields.items() if value}
        yield _slice(process, "dispatch", "dispatch", code.text(pc), start, end, args)


def _instructions(profile, process, thread):
    code, mine = profile.code, profile.slices[thread]
    states = profile.states[thread]
    for pc, start, end in zip(mine.pcs.tolist(), mine.starts.tolist(), mine.ends.tolist()):
        instruction, fields = code[pc]
        args = {"instruction": pc, "layer": code.layers[code.layer_of[pc]],
                **{name: value for name, value in fields.items() if value}}
        args |= {f"{CAUSES[state]} cycles": count for state, count in _within(states, start, end)}
        yield _slice(process, thread, instruction.mnemonic, code.text(pc), start, end, args)


def _within(states, start, end):
    """``(state, cycles)`` of a thread from start to end."""
    first, last = np.searchsorted(states.ends, start, "right"), np.searchsorted(states.starts, end, "left")
    spans = np.minimum(states.ends[first:last], end) - np.maximum(states.starts[first:last], start)
    found = np.bincount(states.states[first:last], weights=spans, minlength=len(CAUSES)).astype(np.int64)
    return [(state, int(count)) for state, count in enumerate(found) if count]


def _stalls(profile, process, thread):
    """Every stretch in which the thread stands still, cut where its instructions begin and end, and the arrows."""
    code, mine, states, released = (profile.code, profile.slices[thread], profile.states[thread],
                                    profile.released[thread])
    edges = np.unique(np.concatenate([mine.starts, mine.ends]))
    for number in np.flatnonzero((states.states != _BUSY) & (states.states != _IDLE)).tolist():
        start, end, state = int(states.starts[number]), int(states.ends[number]), int(states.states[number])
        name, args, giver = CAUSES[state].replace("_", " "), {}, int(released.threads[number])
        if state == _TOKEN:
            args["semaphore"] = int(states.semaphores[number])
        if giver >= 0:
            pc = int(profile.slices[THREADS[giver]].pcs[released.slices[number]])
            name = f"wait for {THREADS[giver]}: {code.text(pc)}"
            args |= {"given by": THREADS[giver], "instruction": pc, "in cycle": int(released.cycles[number])}
        cuts = edges[np.searchsorted(edges, start, "right"):np.searchsorted(edges, end, "left")].tolist()
        for left, right in zip([start, *cuts], [*cuts, end]):
            yield _slice(process, thread, CAUSES[state], name, left, right, args)
        if giver >= 0 and end - start >= _ARROW_CYCLES:
            flow = {"cat": "token", "name": f"semaphore {args['semaphore']}", "pid": process,
                    "id": (process * len(THREADS) + THREADS.index(thread)) << 24 | number}
            given_by = profile.slices[THREADS[giver]]
            at = min(int(released.cycles[number]), int(given_by.ends[released.slices[number]]) - 1)
            yield {"ph": "s", "tid": _row(process, THREADS[giver]), "ts": at, **flow}
            yield {"ph": "f", "bp": "e", "tid": _row(process, thread), "ts": end - 1, **flow}


def _counters(profile, process):
    """Bus activity: beats in each interval, given where they change; intervals of long runs are joined."""
    recording = profile.recording
    joined = -(-len(recording.read_beats) // _COUNTED)
    interval = joined * recording.interval
    for name, beats in (("read beats", recording.read_beats), ("write beats", recording.write_beats)):
        sums = np.add.reduceat(beats, np.arange(0, len(beats), joined)) if len(beats) else beats
        for number in np.flatnonzero(np.append(True, np.diff(sums) != 0)[:len(sums)]):
            yield {"ph": "C", "pid": process, "name": f"{name} in {interval} cycles", "ts": int(number * interval),
                   "args": {"beats": int(sums[number])}}
