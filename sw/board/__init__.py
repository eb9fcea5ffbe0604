"""Programs on a real board: a third backend beside the golden model and the simulated RTL."""

from .machine import Board, BoardResult

__all__ = ["Board", "BoardResult"]
