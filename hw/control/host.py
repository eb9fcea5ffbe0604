"""The host's side of a run: what it writes to the registers, and what it makes of them."""

from ..errors import RunError
from ..interfaces import ThreadState
from ..isa import ErrorCause
from .register_map import BY_NAME, THREADS

__all__ = ["PROGRESS", "set_up", "stopped", "at_rest", "thread_states", "run_figures"]

#: Registers of which one moves while anything does. The weight loader counts as busy also while its tile waits for the streamer.
PROGRESS = [name for name in BY_NAME if name.endswith(("_BEATS", "_BUSY", "_DRAIN")) and name != "WEIGHTS_BUSY"]


def set_up(write, image, base, registers=None):
    """Writes all that a program needs before its start; its memory begins at ``base``.

    ``write(name, value)``: writes a register; ``registers``: values of scalar registers by number, instead of the image's.
    """
    for name, value in (("BASE", base), ("PROGRAM", image.code_offset)):
        write(f"{name}_LO", value)
        write(f"{name}_HI", value >> 32)
    for number, value in (image.registers if registers is None else registers).items():
        write(f"R{number}", int(value))


def stopped(read, image):
    """The RunError of a program that ended with an error; ``read(name)``: value of a register."""
    number = read("ERROR_PC")
    return RunError(f"The accelerator stopped with {ErrorCause(read('CAUSE')).name} at instruction {number}"
                    f"{image.source(number)}")


def at_rest(read, image):
    """The RunError of a program in which nothing moves any more; ``read(name)``: value of a register."""
    return RunError(f"The accelerator came to rest: {thread_states(read, image.source)}")


def thread_states(read, source):
    """One line about the dispatcher and every thread.

    ``read(name)``: value of a register; ``source(number)``: text about an instruction, or "".
    """
    texts = [f"next instruction {read('PC')}"]
    for thread in THREADS:
        register = BY_NAME[f"{thread.upper()}_STATE"]
        value = read(register.name)
        state = register.extract("state", value)
        pc = read(f"{thread.upper()}_PC")
        if state == ThreadState.IDLE.value:
            texts.append(f"{thread} idle")
        elif state == ThreadState.WAIT_TOKEN.value:
            texts.append(f"{thread} waits for semaphore {register.extract('semaphore', value)} in instruction {pc}{source(pc)}")
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
