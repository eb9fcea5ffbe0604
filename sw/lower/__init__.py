"""Lowering: tiling, scheduling, memory planning and encoding."""

from .lowering import HostTensor, Lowered, expanded_layers, lower, prepare
from .stepped import lower_stepped

__all__ = ["HostTensor", "Lowered", "expanded_layers", "lower", "lower_stepped", "prepare"]
