"""Multipliers of an ECP5's LUTs: for yosys, since it makes trees of full adders, four times as large."""

from pathlib import Path

__all__ = ["SOFT_FILES", "soft_script"]

_MAP = "soft_multiplier.v"
#: ``{file name: text}`` that `soft_script` reads.
SOFT_FILES = {_MAP: (Path(__file__).parent / _MAP).read_text(encoding="utf-8")}


def soft_script(modules):
    """Lines for yosys behind ``hierarchy``: multipliers by constants become adders, those of ``modules`` trees of carry cells."""
    lines = ["proc", f"techmap -D CONSTANTS -map {_MAP}"]
    if modules:
        names = " ".join(modules)
        lines += ["opt", "wreduce", f"techmap -map {_MAP} {names}", "opt"]
    return "\n".join(lines)
