"""A second, slow implementation of the machine: loops as hw/README.md writes them, integers of Python, threads that take
turns at random. It checks nothing about the program; a race would show as results that depend on the turns.

`machine.py`: memories, tokens, dispatcher and turns; `transfers.py`, `tensor.py`, `vector.py`: the engines' threads.
"""

from .machine import Machine
from .tensor import TensorThreads
from .transfers import TransferThreads
from .vector import VectorThread

__all__ = ["Reference"]


class Reference(Machine, TransferThreads, TensorThreads, VectorThread):
    """``Reference(image, inputs, seed).run()``; then ``log``: ``(instruction, offset, bytes)`` of each store, and ``memory``."""
