"""The far end of the serial line of a simulated board."""

import ctypes
from functools import cache
from math import ceil
from pathlib import Path

from weft.hw.boards.core import TOP, core_verilog
from weft.sim.verilator import build_library

__all__ = ["SimulatedPort"]

_LOOP = Path(__file__).with_name("board.cpp")
_POINTER, _U64 = ctypes.c_void_p, ctypes.c_uint64
_FUNCTIONS = {
    "board_new": (_POINTER, [ctypes.c_uint]), "board_delete": (None, [_POINTER]), "board_cycle": (_U64, [_POINTER]),
    "board_run": (None, [_POINTER, _U64]), "board_send": (None, [_POINTER, ctypes.c_char_p, _U64]),
    "board_take": (_U64, [_POINTER, ctypes.c_char_p, _U64]),
}


@cache
def _load(path):
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class SimulatedPort:
    """A board's core in Verilator, with the interface of `weft.board.port.SerialPort`: give it to `weft.Board`.

    ``memory_bytes``, ``divisor`` (clock cycles a bit) and ``clock_hz`` as of `weft.hw.boards.core.BoardCore`. Times are
    those of the board: ``clock_hz`` says how many cycles a second of waiting is. ``verilog``: ``{file name: text}`` of a
    `BoardCore` with these parameters, such as a netlist; by default it is generated.
    """

    def __init__(self, config, memory_bytes=256 * 1024, divisor=4, clock_hz=1_000_000, verilog=None, optimize="speed"):
        self.name, self.baud = "simulated board", clock_hz // divisor
        self._clock_hz = clock_hz
        sources = verilog or {f"{TOP}.v": core_verilog(config, memory_bytes, divisor, clock_hz)}
        self._library = _load(build_library(sources, TOP, [_LOOP], optimize=optimize))
        self._handle = self._library.board_new(divisor)

    @property
    def cycles(self):
        """Clock cycles since the simulation began."""
        return self._library.board_cycle(self._handle)

    def now(self):
        """Seconds of the board's time."""
        return self.cycles / self._clock_hz

    def write(self, data):
        """Puts bytes on the line, one after the other, as time goes by."""
        self._library.board_send(self._handle, bytes(data), len(data))

    def read(self, limit, seconds):
        """Up to ``limit`` bytes from the line; waits until there is one, for ``seconds`` of the board's time."""
        data = ctypes.create_string_buffer(limit)
        count = self._library.board_take(self._handle, data, limit)
        if not count:
            # Rounded up, so that time always goes by.
            self._library.board_run(self._handle, max(1, ceil(seconds * self._clock_hz)))
            count = self._library.board_take(self._handle, data, limit)
        return data.raw[:count]

    def close(self):
        """Ends the simulation."""
        if self._handle is not None:
            self._library.board_delete(self._handle)
            self._handle = None
