"""Standard cells: area by block, and the clock before layout."""

from pathlib import Path

from ..config import Config
from ..verilog import TOP, to_verilog
from .mapping import map_component

__all__ = ["BLOCKS", "block_area", "blocks", "measure"]

#: By block: instances it consists of, below the accelerator, and instances below these that count elsewhere.
BLOCKS = {
    "array": (["tensor/array"], []),
    "weight loader, row streamer": (["tensor"], ["tensor/array"]),
    "softmax": (["vector/softmax"], []),
    "norm": (["vector/requantizer/multipliers", "vector/row_sums", "vector/row_unit"], []),
    "post-processing": (["vector/requantizer"], ["vector/requantizer/multipliers"]),
    "vector engine's control and operands": (["vector"], ["vector/softmax", "vector/row_sums", "vector/row_unit",
                                                          "vector/requantizer"]),
    "load and store engines": (["dma"], []),
    "fetch, dispatch, registers": (["control"], []),
    "memories' ports": (["scratchpad", "accumulators"], []),
}
#: Instances that paths of the clock are told apart by.
_PLACES = ("tensor/array", "tensor", "vector", "dma", "control", "scratchpad", "accumulators")


def block_area(netlist, name, top=TOP, instance=""):
    """Area of a block of `BLOCKS` in a netlist whose module ``top`` is the accelerator, or its ``instance`` (path with a slash at
    the end)."""
    parts, without = BLOCKS[name]

    def total(paths):
        return sum(netlist.area(netlist.child(top, path.removeprefix(instance))) for path in paths)

    return total(parts) - total(without)


def blocks(netlist, top=TOP):
    """``{block: area}`` of `BLOCKS`, and the rest."""
    areas = {name: block_area(netlist, name, top) for name in BLOCKS}
    areas["rest"] = netlist.area(top) - sum(areas.values())
    return areas


def measure(config, liberty, folder, period):
    """Area by block and clock of a configuration, as plain values; ``period``: what mapping aims at, in ns.

    The clock is the one at which OpenSTA finds no slack, with the library's own model of wires and ideal clock; paths to and
    from memories are not part of it, their macros not being known.
    """
    config = Config.load(config)
    netlist, (seconds, mebibytes), timing = map_component(to_verilog(config), TOP, liberty, folder, round(1000 * period))
    areas = blocks(netlist)
    total = netlist.area(TOP)
    paths = {}
    for name, slack in timing.ends.items():
        place = next((place for place in _PLACES if name.startswith(place + "/")), "ports")
        paths[place] = min(slack, paths.get(place, float("inf")))
    return {
        "config": config.name, "library": Path(liberty).name.split(".")[0], "areas": {n: round(a) for n, a in areas.items()},
        "total": round(total), "array_share": round(areas["array"] / total, 4),
        "area_per_mac": round(total / (config.rows * config.cols), 1),
        "clock_mhz": round(1000 / (period - timing.slack)), "paths": paths, "worst_path": timing.worst,
        "yosys_seconds": seconds, "yosys_mib": mebibytes,
    }
