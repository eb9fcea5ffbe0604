"""Lowering: tiling, scheduling, memory planning and encoding."""

from .lowering import HostTensor, Lowered, lower, prepare
from .stepped import lower_stepped

__all__ = ["HostTensor", "Lowered", "lower", "lower_stepped", "prepare"]
