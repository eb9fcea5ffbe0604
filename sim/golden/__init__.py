"""Golden model: the binary program executed and checked in NumPy.

``trace`` lists the executed instructions, ``threads`` runs them symbolically with tokens, ``order`` and ``events`` check
their accesses and make the plan, ``moves``, ``products`` and ``vectors`` compute it.
"""

from .machine import GoldenMachine, GoldenResult, StoreLog

__all__ = ["GoldenMachine", "GoldenResult", "StoreLog"]
