"""Delays of a routed netlist, in the Standard Delay Format (IEEE 1497) as nextpnr writes it."""

import re
from collections import defaultdict
from pathlib import Path

from .delays import Cell

__all__ = ["Routed"]

#: Names may have any character behind a backslash; of minimum, typical and maximum the last one counts.
_WIRE = re.compile(r"\(INTERCONNECT \S+ (\S+)/(\w+) \([\d.]+:[\d.]+:([\d.]+)\)")
_INSTANCE = re.compile(r"\(INSTANCE (\S+)\)")
_PATH = re.compile(r"\(IOPATH (\w+) (\w+) \([\d.]+:[\d.]+:([\d.]+)\)")
_CHECK = re.compile(r"\(SETUPHOLD \(posedge (\w+)\) \(posedge \w+\) \([\d.]+:[\d.]+:([\d.]+)\)")
#: Pins that are clocks, by how they begin.
_CLOCKS = "CLK", "WCK"


class Routed:
    """Of each cell and wire, in ns.

    wires : ``{(cell's name, pin): delay}``
        Of the wire that ends there.
    cells : ``{cell's name: Cell}``
    """

    def __init__(self, text):
        self.wires, self.cells, name = {}, defaultdict(Cell), None
        for line in text.splitlines():
            if found := _WIRE.search(line):
                self.wires[found[1].replace("\\", ""), found[2]] = float(found[3]) / 1000
            elif found := _INSTANCE.search(line):
                name = found[1].replace("\\", "")
            elif found := _PATH.search(line):
                source, output, delay = found[1], found[2], float(found[3]) / 1000
                if source.startswith(_CLOCKS):
                    self.cells[name].start[output] = delay
                else:
                    self.cells[name].through.append((source, output, delay))
            elif found := _CHECK.search(line):
                self.cells[name].setup[found[1]] = float(found[2]) / 1000

    @classmethod
    def read(cls, path):
        return cls(Path(path).read_text(encoding="utf-8"))
