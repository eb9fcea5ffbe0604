"""The Verilog with what a tool flow needs beside it: ``weft generate --flow``.

Every flow writes ``weft.v``, which says itself which warnings of Verilator are meant, so that ``verilator --lint-only`` passes
without a control file, and ``weft.json``.
"""

from .. import verilog
from ..config import Config
from ..errors import ConfigError
from ..files import write_files
from . import fusesoc, openroad, quartus, vivado

__all__ = ["FLOWS", "CLOCK_MHZ", "flow_files", "generate_flow"]

#: Flows by name: functions of ``(config, files, clock_mhz)`` that return ``{file name: text}``, starting from ``files``.
FLOWS = {"plain": None, "fusesoc": fusesoc.files, "vivado": vivado.files, "quartus": quartus.files,
         "openroad": openroad.files}

#: Clock of the constraints where none is asked for.
CLOCK_MHZ = 100.0
_SLOWEST, _FASTEST = 1, 10_000


def flow_files(config, flow="plain", clock_mhz=None):
    """``{file name: text}`` of a configuration for a flow.

    Raises ConfigError for an unknown flow, a clock that is none, and a clock for `plain`, which has no constraints.
    """
    config = Config.load(config)
    if flow not in FLOWS:
        raise ConfigError(f"flow must be one of {', '.join(FLOWS)}, not {flow!r}")
    if flow == "plain" and clock_mhz is not None:
        raise ConfigError("a clock of the constraints needs a flow that has constraints: "
                          f"{', '.join(name for name in FLOWS if name != 'plain')}")
    clock_mhz = CLOCK_MHZ if clock_mhz is None else clock_mhz
    if not _SLOWEST <= clock_mhz <= _FASTEST:
        raise ConfigError(f"the clock must be from {_SLOWEST} to {_FASTEST} MHz, not {clock_mhz:g}")
    files = verilog.file_texts(config)
    if flow == "plain":
        return files
    return FLOWS[flow](config, files, clock_mhz)


def generate_flow(config, out_dir, flow="plain", clock_mhz=None):
    """Writes `flow_files` into a folder, which is made if need be; returns the paths. Raises also OSError."""
    return write_files(out_dir, flow_files(config, flow, clock_mhz))
