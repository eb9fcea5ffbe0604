"""A netlist that nextpnr has packed into the slices of an ECP5 and placed, as its JSON holds it."""

import json
import re
from collections import defaultdict
from pathlib import Path

__all__ = ["Packed"]

_SITE = re.compile(r"X(\d+)/Y(\d+)/(?:SLICE([A-D])\.(?:(K|FF)([01])|RAMW)$)?")
#: Strength of what the user has put somewhere: nextpnr moves nothing any more.
_STAYS = f"{6:032b}"


class Packed:
    """Cells, by number, in their places, and the nets between them.

    names, kinds, parameters, pins : lists
        Of each cell: pins is ``{pin: net}`` of those that are connected.
    x, y, slot : lists
        Column and row; slot is ("K", 0 to 7) for a tile's lookup tables, ("FF", 0 to 7) for its registers, ("RAMW", 0 to 3) for
        write ports, None for cells outside slices.
    driver : ``{net: (cell, pin)}``
    users : ``{net: [(cell, pin)]}``
    """

    def __init__(self, netlist):
        self._netlist = netlist
        (self._cells,) = (module["cells"] for module in netlist["modules"].values() if module["cells"])
        self.names = list(self._cells)
        self.kinds, self.parameters, self.pins, self.x, self.y, self.slot = [], [], [], [], [], []
        self.driver, self.users = {}, defaultdict(list)
        for number, cell in enumerate(self._cells.values()):
            self.kinds.append(cell["type"])
            self.parameters.append(cell["parameters"])
            x, y, letter, kind, half = _SITE.match(cell["attributes"]["NEXTPNR_BEL"]).groups()
            self.x.append(int(x))
            self.y.append(int(y))
            place = letter and "ABCD".index(letter)
            self.slot.append(None if letter is None else (kind, 2 * place + int(half)) if kind else ("RAMW", place))
            pins = {pin: bits[0] for pin, bits in cell["connections"].items() if bits}
            self.pins.append(pins)
            for pin, net in pins.items():
                if cell["port_directions"][pin] == "output":
                    self.driver[net] = number, pin
                else:
                    self.users[net].append((number, pin))
        self._origin = list(zip(self.x, self.y, self.slot, strict=True))

    @classmethod
    def read(cls, path):
        return cls(json.loads(Path(path).read_text(encoding="utf-8")))

    def moved(self, cell):
        """Whether a cell stands elsewhere than where it was read from."""
        return self._origin[cell] != (self.x[cell], self.y[cell], self.slot[cell])

    def write(self, path, anew=()):
        """For nextpnr to route: every cell stays where it is. Routes of nets that are in ``anew``, or whose driver has moved, are
        forgotten; where others have users that moved, nextpnr routes those."""
        forgotten = {*anew, *(net for net, (cell, _) in self.driver.items() if self.moved(cell))}
        for module in self._netlist["modules"].values():
            for net in module.get("netnames", {}).values():
                if forgotten.intersection(net["bits"]):
                    net["attributes"].pop("ROUTING", None)
        for name, x, y, slot in zip(self.names, self.x, self.y, self.slot, strict=True):
            attributes = self._cells[name]["attributes"]
            attributes["BEL_STRENGTH"] = _STAYS
            if slot:
                kind, number = slot
                site = f"{'ABCD'[number]}.RAMW" if kind == "RAMW" else f"{'ABCD'[number // 2]}.{kind}{number % 2}"
                attributes["NEXTPNR_BEL"] = f"X{x}/Y{y}/SLICE{site}"
        Path(path).write_text(json.dumps(self._netlist), encoding="utf-8")
