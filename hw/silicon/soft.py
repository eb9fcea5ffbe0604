"""Multipliers of an ECP5's LUTs: for yosys, since it makes trees of full adders, four times as large."""

import re
from pathlib import Path

__all__ = ["soft_files", "soft_script"]

_MAP = "soft_multiplier.v"
#: An element of the array in the accelerator's Verilog: its module, its name and its place (row, or pair of rows).
_ELEMENT = re.compile(r"^ +(\w+) ((?:pe|pair)_(\d+)_\d+) \(", re.M)


def soft_files():
    """``{file name: text}`` of what the script reads."""
    return {_MAP: (Path(__file__).parent / _MAP).read_text(encoding="utf-8")}


def soft_script(text="", places=(), modules=()):
    """Lines for yosys behind ``hierarchy``: multipliers by constants become adders, those of ``modules`` and of the array's
    ``places`` (rows, or pairs of rows) in the Verilog ``text`` trees of carry cells. Elements there get modules of their own."""
    lines, modules, elements = ["proc", f"techmap -D CONSTANTS -map {_MAP}"], list(modules), {}
    for module, name, place in _ELEMENT.findall(text):
        if int(place) in places:
            elements.setdefault(module, []).append(f"c:{name}")
    for module, names in elements.items():
        modules.append(f"{module}_soft")
        lines += [f"copy {module} {modules[-1]}", f"chtype -set {modules[-1]} {' '.join(names)}"]
    if modules:
        lines += ["opt", "wreduce", f"techmap -map {_MAP} {' '.join(modules)}", "opt"]
    return "\n".join(lines)
