"""A board in Verilator: its core with a serial line on the pins, as a port that `weft.Board` takes."""

from .port import SimulatedPort

__all__ = ["SimulatedPort"]
