"""Lowering: tiling, scheduling, memory planning and encoding."""

from .lowering import HostTensor, Lowered, lower

__all__ = ["HostTensor", "Lowered", "lower"]
