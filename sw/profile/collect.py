"""One recorded run, checked against the golden model and taken apart by thread, instruction and layer."""

from dataclasses import dataclass

import numpy as np

from weft.hw.control.register_map import THREADS
from weft.hw.interfaces import ThreadState

from .instructions import Code, executed, slices
from .stalls import WORK, blame, releases, runs

__all__ = ["LayerFigures", "Profile", "take_apart"]

_BUSY = ThreadState.BUSY.value


@dataclass(frozen=True)
class LayerFigures:
    """What one layer cost.

    ``instructions``: executed; ``work``: cycles by `WORK`, whose sum over all layers is the run's; ``array_cycles``: rows
    that entered the array; ``macs``: of the model; ``read_bytes``, ``written_bytes``: moved by its instructions;
    ``first``, ``last``: cycles between which they ran.
    """
    name: str
    instructions: int
    work: dict
    array_cycles: int
    macs: int
    read_bytes: int
    written_bytes: int
    first: int
    last: int

    @property
    def cycles(self):
        """Cycles spent on the layer."""
        return sum(self.work.values())


@dataclass(frozen=True)
class Profile:
    """A run on the RTL whose every written byte was equal to the golden model's.

    ``title``: what ran; ``stats``: `weft.stats.Stats`; ``recording``; ``code``; by thread: ``slices``, ``states``
    (`Runs`), ``released``; ``blame``; ``layers``: `LayerFigures` in the order in which they are first reached.
    """
    title: str
    config: object
    stats: object
    recording: object
    code: Code
    slices: dict
    states: dict
    released: dict
    blame: object
    layers: list

    @property
    def fetched_bytes(self):
        """Bytes read for instructions, and for what was read ahead of the last one."""
        return self.stats.dram_read_bytes - sum(layer.read_bytes for layer in self.layers)


def take_apart(title, image, recording, stats, layer_macs):
    """The `Profile` of a recorded run of an image; ``layer_macs``: the model's MACs by layer."""
    code = Code(image)
    by_thread = {thread: slices(recording, code, thread) for thread in THREADS}
    states = {thread: runs(recording, thread) for thread in THREADS}
    released = {thread: releases(recording, code, by_thread, states[thread]) for thread in THREADS}
    found = blame(recording, code, by_thread, states, released)
    layers = _layers(image.config, recording, code, by_thread, found, layer_macs)
    return Profile(title, image.config, stats, recording, code, by_thread, states, released, found, layers)


def _layers(config, recording, code, by_thread, found, layer_macs):
    count = len(code.layers)
    work = np.zeros((count, len(WORK)), np.int64)
    np.add.at(work, (found.layers, found.work), found.ends - found.starts)
    pcs, arrivals = executed(recording)
    layer = code.layer_of[pcs]
    instructions = np.bincount(layer, minlength=count)
    read, written, rows = (np.zeros(count, np.int64) for _ in range(3))
    for pc, number in zip(pcs.tolist(), layer.tolist()):
        read[number] += code.bytes_read(pc, config)
        written[number] += code.bytes_written(pc, config)
        rows[number] += code.passes(pc) * code[pc][1].get("rows", 0)
    first, last = np.full(count, recording.cycles, np.int64), np.zeros(count, np.int64)
    np.minimum.at(first, layer, arrivals)
    for one in by_thread.values():
        np.maximum.at(last, code.layer_of[one.pcs], one.ends)
    order = dict.fromkeys(layer.tolist())
    return [LayerFigures(code.layers[n], int(instructions[n]), dict(zip(WORK, work[n].tolist())), int(rows[n]),
                         int(layer_macs.get(code.layers[n], 0)), int(read[n]), int(written[n]), int(first[n]), int(last[n]))
            for n in order]
