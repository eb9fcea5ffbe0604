"""Standard cells: area of the systolic array and of what loads its weights, with and without each option.

`SystolicArray`, `WeightLoader` and `RowStreamer` hold no memory but registers, so nothing is left to macros.
"""

from dataclasses import fields, replace
from pathlib import Path

from ..config import SPARSITIES
from ..errors import ConfigError
from ..isa import CIRCULANT_BLOCKS
from ..tensor.array import SystolicArray
from ..tensor.loader import WeightLoader
from ..tensor.streamer import RowStreamer
from ..verilog import convert
from .mapping import map_component

__all__ = ["area", "measure", "variants"]


def area(component, liberty, folder, period=1.6):
    """Cell area of an Amaranth component, mapped as small as can be, in the unit of the Liberty file (square micrometres,
    usually); ``period``: what sizing aims at, in ns."""
    netlist, *_ = map_component(convert(component, "part"), "part", liberty, folder, round(1000 * period), ["small"])
    return netlist.area("part")


def variants(config):
    """``(words, configuration)`` without option, and with each one that it can have."""
    plain = replace(config, **{f.name: f.default for f in fields(config) if f.type in (bool, str, tuple)})
    blocks = tuple(b for b in CIRCULANT_BLOCKS if config.rows % b == config.cols % b == 0)
    yield "no option", plain
    for f in fields(config):
        for value in {bool: [True], str: SPARSITIES, tuple: [blocks] if blocks else []}.get(f.type, []):
            try:
                words = ",".join(map(str, value)) if isinstance(value, tuple) else value
                yield f.name if value is True else f"{f.name} {words}", replace(plain, **{f.name: value})
            except ConfigError:
                pass


def measure(config, liberty, folder, period=1.6):
    """Yields ``(part with its option, area)``, of the parts that an option changes."""
    for option, chosen in variants(config):
        parts = {"weight loader": WeightLoader(chosen)}
        if option == "no option" or chosen.activation_lanes:
            parts[f"array {config.rows}x{config.cols}"] = SystolicArray(config.rows, config.cols, chosen.activation_lanes)
        if option == "no option" or chosen.sparsity:
            parts["row streamer"] = RowStreamer(chosen, 1)
        for part, component in parts.items():
            name = f"{part}, {option}"
            yield name, area(component, liberty, Path(folder) / name.replace(" ", "-").replace(":", "-"), period)
