"""What a host makes of the registers: which thread does what, and the figures of a run."""

from ..interfaces import ThreadState
from .register_map import THREADS

__all__ = ["thread_states", "run_figures"]


def thread_states(read, source):
    """One line about the dispatcher and every thread.

    ``read(name)``: value of a register; ``source(number)``: text about an instruction, or "".
    """
    texts = [f"next instruction {read('PC')}"]
    for thread in THREADS:
        value = read(f"{thread.upper()}_STATE")
        state, semaphore = value & 7, value >> 8 & 31
        pc = read(f"{thread.upper()}_PC")
        if state == ThreadState.IDLE.value:
            texts.append(f"{thread} idle")
        elif state == ThreadState.WAIT_TOKEN.value:
            texts.append(f"{thread} waits for semaphore {semaphore} in instruction {pc}{source(pc)}")
        else:
            name = ThreadState(state).name.lower().replace("_", " ")
            texts.append(f"{thread} {name} in instruction {pc}{source(pc)}")
    return ", ".join(texts)


def run_figures(read, data_bytes):
    """Figures of the last run: ``cycles``, ``dram_read_bytes``, ``dram_write_bytes``, and ``engines``
    ``{thread: {state: cycles}}``. ``read(name)``: value of a register."""
    states = [s for s in ThreadState if s is not ThreadState.IDLE]
    low = read("CYCLES_LO")
    return {
        "cycles": low | read("CYCLES_HI") << 32,
        "dram_read_bytes": read("READ_BEATS") * data_bytes, "dram_write_bytes": read("WRITE_BEATS") * data_bytes,
        "engines": {t: {s.name.lower(): read(f"{t.upper()}_{s.name}") for s in states} for t in THREADS},
    }
