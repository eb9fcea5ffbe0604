"""The simulation as a shared library: built once for each Verilog, driven through ctypes (which releases the GIL)."""

import ctypes
import sys
from functools import cache
from pathlib import Path

from weft import hw
from weft.hw.errors import ConfigError
from weft.sim.build_cache import cached_build, digest
from weft.sim.verilator import build_library

from . import recording

__all__ = ["Library", "sources_of"]

_LOOP = Path(__file__).with_name("loop.cpp")
_SIMULATION = Path(__file__).with_name("simulation.hpp")
_RECORDER = Path(__file__).with_name("profile.hpp")
#: Name of the top module.
TOP = "weft"

_VOID, _INT, _U32, _U64 = None, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
_POINTER = ctypes.c_void_p
_FUNCTIONS = {
    "weft_new": (_POINTER, []), "weft_delete": (_VOID, [_POINTER]), "weft_beat_bytes": (ctypes.c_uint, []),
    "weft_memory": (_VOID, [_POINTER, _POINTER, _U64, _U64]), "weft_writable": (_VOID, [_POINTER, _U64, _U64]),
    "weft_errors": (_VOID, [_POINTER, _U64, _U64]),
    "weft_configure": (_VOID, [_POINTER, _INT, _U64, ctypes.c_uint, ctypes.c_uint]), "weft_reset": (_VOID, [_POINTER]),
    "weft_write": (_VOID, [_POINTER, ctypes.c_uint, _U32]), "weft_read": (_U32, [_POINTER, ctypes.c_uint]),
    "weft_run": (_INT, [_POINTER, _U64, _U64]), "weft_cycle": (_U64, [_POINTER]), "weft_idle": (_U64, [_POINTER]),
    "weft_message": (ctypes.c_char_p, [_POINTER]), "weft_log_size": (_U64, [_POINTER]),
    "weft_log_addresses": (_POINTER, [_POINTER]), "weft_log_data": (_POINTER, [_POINTER]),
    "weft_log_strobes": (_POINTER, [_POINTER]),
}


@cache
def _generator():
    """Text that changes when the Verilog of a configuration may: the hardware's sources, Amaranth and yosys."""
    from amaranth import __version__
    from weft.hw.verilog import converter

    folder = Path(hw.__file__).parent
    sources = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")}
    return digest(sources, __version__, converter().version(), sys.version)


@cache
def _generated(config):
    """Verilog of a configuration as `weft generate` writes it, so that a simulation of the file is the same build. Kept like
    the builds: it takes as long as to run a short program."""
    def build(folder):
        from weft.hw.verilog import to_verilog, with_pragmas

        Path(folder, f"{TOP}.v").write_text(with_pragmas(to_verilog(config)), encoding="utf-8")

    key = digest("verilog 1", config.to_dict(), _generator())
    return Path(cached_build("verilog", key, build), f"{TOP}.v").read_text(encoding="utf-8")


def sources_of(config, verilog_dir=None):
    """``{file name: text}`` of a configuration's Verilog: generated, or every .v and .sv file of a folder."""
    if verilog_dir is None:
        return {f"{TOP}.v": _generated(config)}
    files = sorted(path for path in Path(verilog_dir).glob("*") if path.suffix in (".v", ".sv"))
    if not files:
        raise ConfigError(f"{verilog_dir} holds no Verilog")
    return {path.name: path.read_text(encoding="utf-8") for path in files}


@cache
def _load(path, profile=False):
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in (_FUNCTIONS | (recording.FUNCTIONS if profile else {})).items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Library:
    """The functions of ``loop.cpp`` around one accelerator's Verilog.

    ``optimize``: "speed" (programs of many cycles) or "build" (many configurations, few cycles each); ``flags``: more
    Verilator options; ``profile``: a build that records (`recording`).
    """

    def __init__(self, config, verilog_dir=None, optimize="speed", flags=(), profile=False):
        self.config = config
        sources, include = sources_of(config, verilog_dir), [_SIMULATION]
        if profile:
            sources = {**sources, "profile.vlt": recording.control_file(sources)}
            flags, include = [*flags, *recording.FLAGS], [*include, _RECORDER]
        self.path = build_library(sources, TOP, [_LOOP], flags, optimize, include)
        self._library = _load(self.path, profile)
        if self._library.weft_beat_bytes() != config.data_bytes:
            raise ConfigError(f"the Verilog has data beats of {self._library.weft_beat_bytes()} bytes, the configuration "
                              f"of {config.data_bytes}")

    def __getattr__(self, name):
        return getattr(self._library, "weft_" + name)
