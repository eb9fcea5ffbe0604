"""Lowering: tiling, scheduling, memory planning and encoding."""
