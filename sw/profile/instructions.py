"""Which instruction each thread works on at which time, from what the simulation recorded."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weft.hw import isa
from weft.hw.errors import RunError
from weft.hw.interfaces import ThreadState
from weft.hw.isa import Engine

__all__ = ["Code", "Slices", "executed", "slices"]

_ENGINE_OF = {"load": Engine.LOAD, "weights": Engine.TENSOR, "tensor": Engine.TENSOR, "vector": Engine.VECTOR,
              "store": Engine.STORE}


class Code:
    """The instructions of an image, decoded when they are asked for.

    ``layers``: names in the order of the program; ``layer_of``: int64[instructions], the number of each one's layer.
    """

    def __init__(self, image):
        self.image = image
        sources = [name or "(program)" for name in image.sources] or ["(program)"] * image.instructions
        self.layers = list(dict.fromkeys(sources))
        numbers = {name: number for number, name in enumerate(self.layers)}
        self.layer_of = np.array([numbers[name] for name in sources], np.int64)
        self._decoded = {}

    def __getitem__(self, pc):
        """``(isa.Instruction, fields)`` of instruction number ``pc``."""
        if pc not in self._decoded:
            size = isa.INSTRUCTION_BYTES
            self._decoded[pc] = isa.decode(self.image.code[size * pc:size * (pc + 1)].tobytes())
        return self._decoded[pc]

    @cached_property
    def engines(self):
        """int64[instructions]: the high four bits of each opcode."""
        return self.image.code[::isa.INSTRUCTION_BYTES].astype(np.int64) >> 4

    def text(self, pc):
        """Mnemonic and layer, for people."""
        return f"{self[pc][0].mnemonic}  {self.layers[self.layer_of[pc]]}"

    def bytes_read(self, pc, config):
        """Bytes that the instruction reads from memory."""
        instruction, f = self[pc]
        if instruction.mnemonic == "LOAD":
            return f["outer_count"] * f["inner_count"] * f["run_words"] * config.word_bytes
        if instruction.mnemonic == "GATHER":
            return f["count"] * f["run_words"] * config.word_bytes
        if instruction.mnemonic == "INDEX":
            return -(-4 * f["count"] // config.data_bytes) * config.data_bytes
        return 0

    def bytes_written(self, pc, config):
        """Bytes that the instruction writes to memory."""
        instruction, f = self[pc]
        if instruction.mnemonic == "STORE":
            return f["outer_count"] * f["inner_count"] * f["run_words"] * config.word_bytes
        return 0

    def passes(self, pc):
        """Tiles that the array's rows pass over, 0 for other instructions."""
        instruction, f = self[pc]
        return f["k_tiles"] * f["n_tiles"] if "k_tiles" in f else 0

    def semaphores(self, pc):
        """Token counters that the instruction adds to."""
        return {value for name, value in self[pc][1].items() if name.endswith("signal") and value}


@dataclass(frozen=True)
class Slices:
    """A thread's instructions in the order of execution: ``pcs``, ``starts``, ``ends`` int64[n]; no two overlap."""
    pcs: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def at(self, cycles):
        """Index of the slice at each cycle; between two, the one that comes; behind the last, the last."""
        return np.minimum(np.searchsorted(self.ends, cycles, "right"), len(self.pcs) - 1)


def executed(recording):
    """Every instruction in the order of execution: ``(pcs, arrivals)`` int64[n], cycle in which the dispatcher got it."""
    starts, pcs = recording.tracks["dispatch pc"]
    return pcs, starts


def _follow(pcs, arrivals, starts, values, cycles):
    """For each of ``pcs`` the run of a track in which it shows: int64[n] run numbers, in order."""
    ends = np.append(starts[1:], cycles)
    found, run, count = np.empty(len(pcs), np.int64), 0, len(values)
    for number, (pc, arrival) in enumerate(zip(pcs.tolist(), arrivals.tolist())):
        while run < count and (values[run] != pc or ends[run] <= arrival):
            run += 1
        if run == count:
            raise RunError(f"The recording does not show instruction {pc}, which the dispatcher got in cycle {arrival}")
        found[number] = run
    return found


def _first_idle(recording, thread, accepted):
    """First cycle from each of ``accepted`` on in which the thread is idle."""
    starts, values = recording.tracks[thread]
    idle = starts[(values & 7) == ThreadState.IDLE.value]
    # The state before it has seen the instruction may still be idle: a cycle later it is not.
    return np.append(idle, recording.cycles)[np.searchsorted(idle, accepted, "right")]


def slices(recording, code, thread):
    """The `Slices` of a thread.

    An instruction's slice begins when the thread has accepted it and the one before has ended, and ends with its last
    beat (load), response (store), row (tensor), or when the thread turns to the next.
    """
    cycles, tracks = recording.cycles, recording.tracks
    pcs, arrivals = executed(recording)
    mine = code.engines[pcs] == _ENGINE_OF[thread].value
    pcs, arrivals = pcs[mine], arrivals[mine]
    if not len(pcs):
        return Slices(pcs, pcs, pcs)
    starts, values = tracks[f"{thread} front" if thread in ("load", "store") else f"{thread} pc"]
    runs = _follow(pcs, arrivals, starts, values, cycles)
    accepted = np.maximum(starts[runs], arrivals)
    if thread in ("load", "store"):
        begin, packed = tracks[f"{thread} back"]
        active = (packed & 1) == (1 if thread == "load" else 0)
        ends = _last_seen(pcs, begin[active], np.append(begin[1:], cycles)[active], packed[active] >> 1)
        ends = np.maximum(ends, accepted + 1)
    else:
        ends = np.minimum(np.append(accepted[1:], cycles), _first_idle(recording, thread, accepted))
        if thread == "tensor":
            ends = _row_ends(code, pcs, accepted, ends, tracks["passes"][0])
    ends = np.maximum.accumulate(np.minimum(ends, cycles))
    return Slices(pcs, np.minimum(np.maximum(accepted, np.append(0, ends[:-1])), ends), ends)


def _last_seen(pcs, starts, ends, values):
    """End of the last run of each instruction, which come in order; 0 where it does not show."""
    found, run, count = np.zeros(len(pcs), np.int64), 0, len(values)
    for number, pc in enumerate(pcs.tolist()):
        while run < count and values[run] == pc:
            found[number] = ends[run]
            run += 1
    return found


def _row_ends(code, pcs, accepted, ends, passes):
    """Ends of the row streamer's instructions: a product ends with its last row, a SYNC is over when the next begins."""
    counts = np.array([code.passes(pc) for pc in pcs.tolist()], np.int64)
    if counts.sum() != len(passes):
        raise RunError(f"The array took {len(passes)} tiles, the program's products have {counts.sum()}")
    last = np.cumsum(counts) - 1
    rows = np.array([code[pc][1].get("rows", 0) for pc in pcs.tolist()], np.int64)
    # A pass may end early for what follows only if the recording is cut; it never runs into the next pass.
    until = passes[np.maximum(last, 0)] + rows if len(passes) else accepted
    return np.where(counts > 0, until, ends)
