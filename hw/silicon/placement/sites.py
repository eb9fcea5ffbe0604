"""What of a placed netlist moves together, and where it can stand."""

from collections import defaultdict

from .delays import DEDICATED

__all__ = ["Sites"]

#: Between a block of distributed RAM's name and those of its cells.
_RAM = ("$DPRAM_COMB", "$RAMW_")
#: Tables of a tile, and its registers.
_SLOTS = 8


class Sites:
    """Units of cells, which move together since dedicated wires join them, and the tiles of slices in which they stand.

    unit : list
        Of each cell; ``members`` are the cells of each unit. ``fixed`` ones have cells outside slices.
    tiles : ``{(x, y): {slot: cell}}``
        Every tile that has slices.
    """

    def __init__(self, packed):
        self.packed = packed
        self.unit = self._join()
        self.members = defaultdict(list)
        for cell, unit in enumerate(self.unit):
            self.members[unit].append(cell)
        self.fixed = {self.unit[cell] for cell, slot in enumerate(packed.slot) if slot is None}
        inside = [(x, y, slot, cell) for cell, (x, y, slot) in enumerate(zip(packed.x, packed.y, packed.slot, strict=True)) if slot]
        # Columns and rows of slices cross; what nextpnr does not accept it tells of when it routes.
        rows = {y for _, y, _, _ in inside}
        self.tiles = {(x, y): {} for x in {x for x, _, _, _ in inside} for y in rows}
        for x, y, slot, cell in inside:
            self.tiles[x, y][slot] = cell
        self._control = [self._controls(cell) if kind == "TRELLIS_FF" else None for cell, kind in enumerate(packed.kinds)]
        self._table = [packed.driver[pins["DI"]][0] if kind == "TRELLIS_FF" and "DI" in pins else None
                       for kind, pins in zip(packed.kinds, packed.pins, strict=True)]
        self._mode = [parameters.get("MODE") for parameters in packed.parameters]

    def _join(self):
        """The unit of each cell: one of its cells."""
        packed, first = self.packed, {}
        unit = list(range(len(packed.names)))

        def root(cell):
            while unit[cell] != cell:
                unit[cell] = unit[unit[cell]]
                cell = unit[cell]
            return cell

        for cell, (name, pins) in enumerate(zip(packed.names, packed.pins, strict=True)):
            if packed.slot[cell]:
                for pin, net in pins.items():
                    if pin in DEDICATED and net in packed.driver:
                        unit[root(cell)] = root(packed.driver[net][0])
                for word in _RAM:
                    if word in name:
                        unit[root(cell)] = root(first.setdefault(name[:name.index(word)], cell))
        return [root(cell) for cell in range(len(unit))]

    def _controls(self, cell):
        pins, parameters = self.packed.pins[cell], self.packed.parameters[cell]
        reset = pins.get("LSR"), parameters.get("LSRMUX"), parameters.get("SRMODE")
        return reset, pins.get("CE"), parameters.get("CEMUX"), pins.get("CLK"), parameters.get("CLKMUX")

    def single(self, unit):
        """Whether a unit is a table, a register, or both in one slot, which any slot of a tile can have."""
        slots = [self.packed.slot[cell] for cell in self.members[unit]]
        return (unit not in self.fixed and all(kind != "RAMW" for kind, _ in slots) and len(slots) <= 2
                and len({kind for kind, _ in slots}) == len(slots) and len({number for _, number in slots}) == 1)

    def places(self, unit, columns=0, rows=0):
        """``[(cell, x, y, slot)]`` of a unit that moves so far."""
        packed = self.packed
        return [(cell, packed.x[cell] + columns, packed.y[cell] + rows, packed.slot[cell]) for cell in self.members[unit]]

    def variants(self, unit, columns, rows):
        """All `places` of a unit that moves so far: in each slot, if it is `single`."""
        places = self.places(unit, columns, rows)
        if not self.single(unit):
            return [places]
        return [[(cell, x, y, (kind, number)) for cell, x, y, (kind, _) in places] for number in range(_SLOTS)]

    def lift(self, unit):
        """Takes a unit out of its tiles; `put` is next."""
        packed = self.packed
        for cell in self.members[unit]:
            del self.tiles[packed.x[cell], packed.y[cell]][packed.slot[cell]]

    def withdraw(self, places):
        """Takes a unit out of its tiles again, as if it had never left ``places``."""
        packed = self.packed
        self.lift(self.unit[places[0][0]])
        for cell, x, y, slot in places:
            packed.x[cell], packed.y[cell], packed.slot[cell] = x, y, slot

    def put(self, places):
        packed = self.packed
        for cell, x, y, slot in places:
            packed.x[cell], packed.y[cell], packed.slot[cell] = x, y, slot
            self.tiles[x, y][slot] = cell

    def fits(self, places):
        """Whether cells that are lifted can stand in places."""
        changed = defaultdict(dict)
        for cell, x, y, slot in places:
            if slot in self.tiles.get((x, y), {slot: None}):
                return False
            changed[x, y][slot] = cell
        return all(self._possible(self.tiles[tile] | added) for tile, added in changed.items())

    def _possible(self, tile):
        """Whether the slices of a tile can hold this: as strict as nextpnr's rules, or stricter.

        Registers of a slice share all controls, those of a tile set and reset, which a distributed RAM in it needs to write. A
        register without a table of its own takes the wire that selects behind a table in its slot. What belongs to adders and
        to RAM shares slices with nothing else.
        """
        resets, memories = set(), set()
        for (kind, number), cell in tile.items():
            if kind == "FF":
                other, table = tile.get(("FF", number ^ 1), cell), tile.get(("K", number))
                if self._control[other] != self._control[cell]:
                    return False
                if table is not None and table != self._table[cell] and (
                        self._table[cell] is not None or "M" in self.packed.pins[table] or self._is_memory(table)):
                    return False
                resets.add(self._control[cell][0])
            elif kind == "K":
                other = tile.get(("K", number ^ 1), cell)
                if (self._mode[cell] == "CCU2") != (self._mode[other] == "CCU2"):
                    return False
                if self._is_memory(cell):
                    memories.add(self.unit[cell])
                    if self.unit[other] != self.unit[cell]:
                        return False
        return len(resets) <= 1 and (not memories or len(memories) == 1 and all(net is None for net, _, _ in resets))

    def _is_memory(self, cell):
        return self._mode[cell] in ("DPRAM", "RAMW_BLOCK")
