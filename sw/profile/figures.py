"""Numbers and names of the report: layers alike, waits by cause, activity over time."""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from weft.hw.control.register_map import THREADS
from weft.hw.interfaces import ThreadState

from .stalls import CAUSES, WORK

__all__ = ["Group", "Wait", "activity", "alike", "bus_activity", "groups", "layer_spans", "longest_waits", "short_names",
           "work_activity"]

_BUSY, _IDLE = ThreadState.BUSY.value, ThreadState.IDLE.value


def alike(name):
    """A layer's name with ``*`` for the numbers in its path, so that the same layer of every block has one name."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def short_names(names):
    """The names without the path that all of those with a path share."""
    paths = [name.split(".") for name in names if "." in name]
    shared = 0
    if len(paths) > 1:
        while all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
            shared += 1
    cut = ".".join(paths[0][:shared]) + "." if shared else ""
    return [name.removeprefix(cut) for name in names]


@dataclass(frozen=True)
class Group:
    """Layers of one name but for numbers: how many, and their sums (as in `LayerFigures`)."""
    name: str
    count: int
    work: dict
    macs: int
    read_bytes: int
    written_bytes: int

    @property
    def cycles(self):
        """Cycles spent on the layers."""
        return sum(self.work.values())


def groups(layers):
    """`Group`s of layers, in the order of each one's first."""
    found = defaultdict(list)
    for layer in layers:
        found[alike(layer.name)].append(layer)
    return [Group(name, len(some), {work: sum(one.work[work] for one in some) for work in WORK},
                  *(sum(getattr(one, field) for one in some) for field in ("macs", "read_bytes", "written_bytes")))
            for name, some in found.items()]


@dataclass(frozen=True)
class Wait:
    """Waits of one thread for one cause: ``giver``, ``instruction`` and ``layer`` (names alike) that gave the tokens, "" of
    other causes; how often, and how long together and at most."""
    thread: str
    cause: str
    giver: str
    instruction: str
    layer: str
    count: int
    cycles: int
    longest: int


def longest_waits(profile):
    """Every `Wait` of a profile, those of the array first, the longest together first."""
    found = defaultdict(list)
    for thread in THREADS:
        states, released = profile.states[thread], profile.released[thread]
        lengths = states.ends - states.starts
        for n in np.flatnonzero((states.states != _BUSY) & (states.states != _IDLE)).tolist():
            key = (thread, CAUSES[states.states[n]], "", "", "")
            if released.threads[n] >= 0:
                giver = THREADS[released.threads[n]]
                pc = int(profile.slices[giver].pcs[released.slices[n]])
                key = (*key[:2], giver, profile.code[pc][0].mnemonic,
                       alike(profile.code.layers[profile.code.layer_of[pc]]))
            found[key].append(int(lengths[n]))
    waits = [Wait(*key, len(some), sum(some), max(some)) for key, some in found.items()]
    return sorted(waits, key=lambda wait: (wait.thread != "tensor", -wait.cycles))


def _binned(starts, ends, kinds, count, edges):
    """Share of each bin's cycles that stretches of each kind take: float[count, bins]."""
    shares = np.zeros((count, len(edges) - 1))
    for kind in range(count):
        mine = kinds == kind
        if mine.any():
            # Cycles of this kind before each edge: linear between the ends of stretches.
            points = np.stack([starts[mine], ends[mine]], 1).reshape(-1)
            spent = np.stack([np.zeros(mine.sum(), np.int64), ends[mine] - starts[mine]], 1).reshape(-1).cumsum()
            shares[kind] = np.diff(np.interp(edges, points, spent, left=0)) / np.diff(edges)
    return shares


def activity(states, edges):
    """Share of each thread state, in the order of `CAUSES`, between ``edges`` (cycles): float[states, bins]."""
    return _binned(states.starts, states.ends, states.states, len(CAUSES), edges)


def work_activity(blame, edges):
    """Share of what cycles were spent on, in the order of `WORK`: float[kinds, bins]."""
    return _binned(blame.starts, blame.ends, blame.work, len(WORK), edges)


def bus_activity(recording, edges):
    """Beats read and written a cycle between ``edges``: float[2, bins]."""
    at = np.minimum(np.arange(len(recording.read_beats) + 1) * recording.interval, recording.cycles)
    rows = [np.diff(np.interp(edges, at, np.append(0, beats.cumsum()))) for beats in
            (recording.read_beats, recording.write_beats)]
    return np.stack(rows) / np.diff(edges)


def layer_spans(profile, edges):
    """``(first bin, bin after the last, layer number)`` of the layers that most cycles of each bin were spent on."""
    blame, layers = profile.blame, len(profile.code.layers)
    middle = np.searchsorted(edges, (blame.starts + blame.ends) / 2, "right") - 1
    spent = np.zeros((len(edges) - 1, layers))
    np.add.at(spent, (np.minimum(middle, len(edges) - 2), blame.layers), blame.ends - blame.starts)
    most = spent.argmax(1)
    # Long stretches of one layer have their middle in one bin only; the others take what went before.
    for number in np.flatnonzero(spent.sum(1) == 0):
        at = np.searchsorted(blame.ends, edges[number], "right")
        most[number] = blame.layers[min(at, len(blame.layers) - 1)]
    cuts = np.append(np.append(0, np.flatnonzero(np.diff(most)) + 1), len(most))
    return [(int(a), int(b), int(most[a])) for a, b in zip(cuts, cuts[1:])]
