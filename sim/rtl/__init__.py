"""RTL simulation: the Verilated accelerator with a C++ main loop, run from Python."""

from .machine import RtlLog, RtlMachine, RtlResult

__all__ = ["RtlMachine", "RtlResult", "RtlLog"]
