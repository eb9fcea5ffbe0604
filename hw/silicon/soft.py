"""Multipliers of an ECP5's LUTs: for yosys, since it makes trees of full adders, four times as large."""

from pathlib import Path

__all__ = ["soft_files", "soft_script"]

_MAP = "soft_multiplier.v"


def soft_files():
    """``{file name: text}`` of what the script reads."""
    return {_MAP: (Path(__file__).parent / _MAP).read_text(encoding="utf-8")}


def soft_script(modules):
    """Lines for yosys behind ``hierarchy``: multipliers by constants become adders, those of ``modules`` trees of carry cells."""
    lines = ["proc", f"techmap -D CONSTANTS -map {_MAP}"]
    if modules:
        names = " ".join(modules)
        lines += ["opt", "wreduce", f"techmap -map {_MAP} {names}", "opt"]
    return "\n".join(lines)
