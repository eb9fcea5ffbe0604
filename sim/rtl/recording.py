"""What a profile build of the simulation records: how each thread's state changes, tokens, passes, bus activity.

A profile build (`RtlMachine(config, profile=True)`) makes the signals listed here readable by a Verilator control file
and compiles the recorder (``profile.hpp``) into the main loop; other builds know nothing of either.
"""

import ctypes
import re
from dataclasses import dataclass

import numpy as np

from weft.hw.control.register_map import THREADS
from weft.hw.control.unit import TOKEN_PORTS
from weft.hw.errors import RunError

__all__ = ["Recording", "FLAGS", "FUNCTIONS", "attach", "control_file", "recorded"]

_POINTER, _U64 = ctypes.c_void_p, ctypes.c_uint64

#: More functions of the library, as in `library`.
FUNCTIONS = {
    "weft_profile_field": (ctypes.c_int, [_POINTER, ctypes.c_uint, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint,
                                          ctypes.c_int]),
    "weft_profile_gate": (ctypes.c_int, [_POINTER, ctypes.c_uint, ctypes.c_char_p, ctypes.c_char_p]),
    "weft_profile_running": (ctypes.c_int, [_POINTER, ctypes.c_char_p, ctypes.c_char_p]),
    "weft_profile_size": (_U64, [_POINTER, ctypes.c_uint]),
    "weft_profile_starts": (_POINTER, [_POINTER, ctypes.c_uint]),
    "weft_profile_values": (_POINTER, [_POINTER, ctypes.c_uint]),
    "weft_profile_interval": (_U64, []), "weft_profile_intervals": (_U64, [_POINTER]),
    "weft_profile_read_beats": (_POINTER, [_POINTER]), "weft_profile_write_beats": (_POINTER, [_POINTER]),
}
#: Options of the build.
FLAGS = ("-CFLAGS", "-DWEFT_PROFILE")

_CONTROL, _REGISTERS, _TOKENS = "control", "control.registers", "control.tokens"
_LOAD, _STORE = "dma.load_engine", "dma.store_engine"

# Tracks by name: (gate or None, fields); a field is (instance, signal, bit position, delayed by a cycle), a gate (instance,
# signal). Counted states, tokens and passes are registers, a cycle behind what they tell of; so the rest is delayed.
_TRACKS = {
    **{thread: (None, ((f"{_REGISTERS}.{thread}_counters", "counted_state", 0, False),
                       (_REGISTERS, f"status_{thread}__semaphore", 3, True)))
       for thread in THREADS},
    **{f"{thread} pc": (None, ((_REGISTERS, f"status_{thread}__pc", 0, True),))
       for thread in ("weights", "tensor", "vector")},
    "dispatch pc": (None, ((f"{_CONTROL}.dispatch", "pc", 0, True),)),
    # The front ends of load and store take instructions before their data moves; the back ends know whose data it is.
    "load front": (None, ((f"{_LOAD}.front", "pc", 0, True),)),
    "load back": (None, ((f"{_LOAD}.walker", "o__valid", 0, True), (_LOAD, "error_pc", 1, True))),
    "store front": (None, ((f"{_STORE}.front", "pc", 0, True),)),
    "store back": (None, ((f"{_STORE}.tokens", "idle", 0, True), (f"{_STORE}.tokens", "error_pc", 1, True))),
    **{f"{port} signal": ((_TOKENS, f"{port}_valid"), ((_TOKENS, f"{port}_id", 0, False),)) for port in TOKEN_PORTS},
    "passes": (("tensor.streamer.issuer", "swap"), ()),
}
_RUNNING = (_REGISTERS, "busy")


def _places():
    """Every instance and signal that is read."""
    yield _RUNNING
    for gate, fields in _TRACKS.values():
        yield from ((instance, signal) for instance, signal, _, _ in fields)
        if gate is not None:
            yield gate


def control_file(sources):
    """A Verilator control file that makes the recorded signals public; ``sources``: ``{file name: Verilog}``.

    Raises RunError if the Verilog has no such instance.
    """
    instances = {}
    for text in sources.values():
        for module, body in re.findall(r"^module (\w+)(.*?)^endmodule", text, re.M | re.S):
            instances[module] = {name: kind for kind, name in re.findall(r"^  (\w+) (?:#\(.*?\) )?(\w+) \($", body,
                                                                        re.M | re.S)}
    lines = set()
    for place, signal in _places():
        module = "weft"
        for name in place.split("."):
            module = instances.get(module, {}).get(name)
        if module is None:
            raise _missing(place, signal)
        lines.add(f'public_flat_rd -module "{module}" -var "{signal}"')
    return "\n".join(["`verilator_config", *sorted(lines), ""])


def _missing(place, signal):
    return RunError(f"The simulation has no signal {signal} in {place} to record; it is of other Verilog than this Weft "
                    "generates")


@dataclass(frozen=True)
class Recording:
    """What happened in each cycle of a run, from 0 to ``cycles`` - 1.

    ``tracks``: by name ``(starts int64[n], values int64[n])``: cycle from which on a signal has a value, or for "... signal"
    and "passes" the cycles of events. ``interval``: cycles for which ``read_beats``, ``write_beats`` int64[intervals] count.

    Tracks: each thread (state, and semaphore << 3), "* pc" (an instruction's number), "load back" (valid, pc << 1), "store
    back" (idle, pc << 1), "* signal" of each port that adds tokens (semaphore), "passes" (a tile's first row enters the
    array).
    """
    cycles: int
    tracks: dict
    interval: int
    read_beats: np.ndarray
    write_beats: np.ndarray


def _scope(place):
    return f"TOP.weft.{place}".encode()


def attach(call):
    """Tells a simulation what to record; ``call(name, *arguments)`` calls a function of the library for it."""
    def found(done, place, signal):
        if not done:
            raise _missing(place, signal)

    found(call("profile_running", _scope(_RUNNING[0]), _RUNNING[1].encode()), *_RUNNING)
    for number, (gate, fields) in enumerate(_TRACKS.values()):
        for instance, signal, shift, delayed in fields:
            found(call("profile_field", number, _scope(instance), signal.encode(), shift, int(delayed)), instance, signal)
        if gate is not None:
            found(call("profile_gate", number, _scope(gate[0]), gate[1].encode()), *gate)


def recorded(call, interval, cycles):
    """The `Recording` of a simulation that has run ``cycles``; ``interval``: of the library."""
    def copied(name, length, *arguments):
        if not length:
            return np.empty(0, np.int64)
        pointer = ctypes.cast(call(name, *arguments), ctypes.POINTER(ctypes.c_int64))
        return np.ctypeslib.as_array(pointer, (length,)).copy()

    tracks = {}
    for number, name in enumerate(_TRACKS):
        size = call("profile_size", number)
        tracks[name] = (copied("profile_starts", size, number), copied("profile_values", size, number))
    intervals = call("profile_intervals")
    return Recording(cycles, tracks, interval, copied("profile_read_beats", intervals),
                     copied("profile_write_beats", intervals))
