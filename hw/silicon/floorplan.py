"""Sites of an ECP5's multipliers and block RAM, by what they are in the accelerator.

Both stand in a few rows across the device. nextpnr's placers solve for all cells as if any place would do and then move each of
these to a free site, one by one: elements of the systolic array that pass sums to each other end at opposite edges. On 8x8 the
wires of multipliers made a quarter of all wire, and the router did not come to an end.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

__all__ = ["GRIDS", "Grid", "assign_sites"]


@dataclass(frozen=True)
class Grid:
    """Where a device has multipliers and block RAM: y of the ``multipliers`` rows, y of the ``memories`` rows, and x at which a
    block of four begins in each of these rows."""
    multipliers: tuple
    memories: tuple
    blocks: tuple


#: By the end of the device's name: LFE5U-85F is "85F".
GRIDS = {
    "45F": Grid((22, 46), (10, 34, 58), (4, 13, 22, 31, 42, 51, 60, 69, 78)),
    "85F": Grid((10, 34, 58), (22, 46, 70, 82), (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)),
}
#: Sites of a block: x from where it begins, and name.
_MULTIPLIERS = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
_MEMORIES = ((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3"))
#: Clock enables that the multipliers of a block share; all that are constant are one.
_ENABLES = 4

_PE = re.compile(r"\bpe_(\d+)_(\d+)\.")
_LANE = re.compile(r"\brequantizer\.lane_(\d+)\.")
_PRODUCTS = re.compile(r"\brequantizer\.products(_\d+)?$")
#: Block RAM in the order in which it gets rows, what stands behind it in its row, and the bits that one holds.
_BANKS = ((re.compile(r"\bscratchpad\.bank_(\d+)\."), re.compile(r"\bdma\.load_engine\.()")),
          (re.compile(r"\baccumulators\.bank_(\d+)\."), re.compile(r"\bcontrol\.()")))
#: And that which comes after them.
_VECTOR = re.compile(r"\bvector\.()")
_SHARD = re.compile(r"\.(\d+)$")
#: What the other multipliers belong to, and whether they stand beside the lanes (or the array).
_OTHERS = {"vector.row_unit.": True, "dma.store_engine.": False, "dma.load_engine.": False, "tensor.loader.": False}


def assign_sites(netlist, device):
    """Gives sites to multipliers and block RAM in a flat netlist of yosys (a dict, whose cells get the attribute BEL).

    ``device`` names one of `GRIDS` at its end. Two by two PEs have a block of four multipliers; blocks of PEs that pass sums to
    each other, in the direction of rows, lie side by side or a row of the device below. Behind the array's rows comes one with a
    block for each lane of the requantizer, or the lanes stand between the array's blocks if it has all rows. The other multipliers
    have blocks beside those of the lanes (the vector engine's) and of the array, one for each engine; nextpnr would move them last,
    and far. Scratchpad and accumulators have the rows of block RAM in the midst of the array and next to it, and the vector engine
    the next. What loads and instructions wait in stands behind the first two: the engines of memory and the control are on one side
    of the device. What finds no room is nextpnr's.
    """
    for module in netlist["modules"].values():
        plan = _Plan(module, GRIDS[device[-3:]])
        plan.place_array()
        plan.place_lanes()
        plan.place_others()
        plan.place_memories()


class _Plan:
    def __init__(self, module, grid):
        self.grid = grid
        self.multipliers, self.memories = (
            {name: cell for name, cell in module["cells"].items() if cell["type"] == kind} for kind in ("MULT18X18D", "DP16KD"))
        # The products of norms are one signal, lane by lane.
        self.products = {bit: place for name, net in module["netnames"].items() if _PRODUCTS.search(name)
                         for place, bit in enumerate(net["bits"])}
        self.array_rows = 0
        self.enables = defaultdict(set)     # of the blocks, (line, block), in which multipliers have sites
        self.numbers = defaultdict(set)     # of these sites

    def place(self, cell, line, block, number):
        """Gives a multiplier site ``number`` of a block in row ``line``, unless it would ask for too many clock enables there;
        whether it did."""
        enables = {bits[0] if isinstance(bits[0], int) else "constant"
                   for pin, bits in cell["connections"].items() if pin.startswith("CE") and bits}
        shared = self.enables[line, block]
        if len(shared | enables) > _ENABLES:
            return False
        shared |= enables
        self.numbers[line, block].add(number)
        x, site = _MULTIPLIERS[number]
        cell["attributes"]["BEL"] = f"X{self.grid.blocks[block] + x}/Y{self.grid.multipliers[line]}/{site}"
        return True

    def place_array(self):
        elements = {(int(found[1]), int(found[2])): cell for name, cell in self.multipliers.items() if (found := _PE.search(name))}
        if not elements:
            return
        # Of two by two PEs two swap weights in the same cycle, being on one diagonal: three clock enables, and the constant one.
        down, across = (1 + max(place[axis] for place in elements) // 2 for axis in (0, 1))
        width, available = len(self.grid.blocks), len(self.grid.multipliers)
        rows = next((rows for rows in range(1, available + 1) if -(-down // rows) * across <= width), available)
        each = -(-down // rows)
        in_turn = each * across > width     # blocks of a column side by side are too wide: they go to the device's rows in turn
        used = -(-down * across // rows) if in_turn else each * across
        if used > width:
            return
        first = (width - used) // 2
        for (row, column), cell in elements.items():
            block_row, block_column = row // 2, column // 2
            if in_turn:
                block, line = divmod(block_column * down + block_row, rows)
            else:
                line, step = divmod(block_row, each)
                # Back and forth, so that the next row of the device goes on below where this one ends.
                block = block_column * each + (each - 1 - step if line % 2 else step)
            self.place(cell, line, first + block, row % 2 * 2 + column % 2)
        self.array_rows = rows

    def place_lanes(self):
        lanes, products = defaultdict(list), {}
        for name, cell in self.multipliers.items():
            if found := _LANE.search(name):
                lanes[int(found[1])].append(cell)
            elif places := [self.products[bit] for bits in cell["connections"].values() for bit in bits if bit in self.products]:
                products[min(places)] = cell
        for lane, place in enumerate(sorted(products)):
            lanes[lane].append(products[place])
        width = len(self.grid.blocks)
        if self.array_rows < len(self.grid.multipliers) and len(lanes) <= width:
            for lane, cells in lanes.items():
                for number, cell in enumerate(cells[:len(_MULTIPLIERS)]):
                    self.place(cell, self.array_rows, (width - len(lanes)) // 2 + lane, number)
        elif self.array_rows:
            self.place_lanes_between(lanes)

    def place_lanes_between(self, lanes):
        """Two lanes to a block that the array leaves free, from its last row on, and products where it leaves single sites."""
        blocks = [(line, block) for line in reversed(range(self.array_rows)) for block in range(len(self.grid.blocks))]
        free, partly = ([place for place in blocks if (place in self.numbers) == used] for used in (False, True))
        half = len(_MULTIPLIERS) // 2
        for count, (_, cells) in enumerate(sorted(lanes.items())):
            if count // 2 == len(free):
                return
            line, block = free[count // 2]
            for number, cell in enumerate(cells[:half]):
                self.place(cell, line, block, count % 2 * half + number)
            near = sorted(partly, key=lambda place: (abs(place[0] - line), abs(place[1] - block)))
            for cell in cells[half:]:
                any(self.place(cell, *place, number) for place in near for number in range(len(_MULTIPLIERS))
                    if number not in self.numbers[place])

    def place_others(self):
        """A free block for each engine's, on the side where rows end if there is one, near to the middle."""
        width = len(self.grid.blocks)
        nearest = sorted(range(width), key=lambda block: (2 * block < width - 1, abs(2 * block - width + 1)))
        for owner, beside_lanes in _OTHERS.items():
            cells = [cell for name, cell in sorted(self.multipliers.items()) if owner in name and "BEL" not in cell["attributes"]]
            array, lanes = list(reversed(range(self.array_rows))), [self.array_rows]
            lines = lanes + array if beside_lanes else array + lanes
            free = [(line, block) for block in nearest for line in lines
                    if line < len(self.grid.multipliers) and not self.numbers[line, block]]
            for (line, block), first in zip(free, range(0, len(cells), len(_MULTIPLIERS)), strict=False):
                for number, cell in enumerate(cells[first:first + len(_MULTIPLIERS)]):
                    self.place(cell, line, block, number)

    def place_memories(self):
        """What holds the same bits of all banks side by side."""
        array = self.grid.multipliers[:self.array_rows] or self.grid.multipliers
        middle = sum(array) / len(array)
        free = sorted(self.grid.memories, key=lambda y: abs(y - middle))
        for pattern, behind in _BANKS:
            group = self._find(pattern)
            blocks = -(-len(group) // len(_MEMORIES))
            count = -(-blocks // len(self.grid.blocks))
            rows, free = free[:count], free[count:]
            first = max(0, len(self.grid.blocks) - blocks) // 2
            # Back and forth, the last row to the right: the same bits of all banks stay together where a row ends.
            sites = [site for number, y in enumerate(rows)
                     for site in self._sites(y)[first * len(_MEMORIES):][::-1 if (len(rows) - number) % 2 == 0 else 1]]
            if len(group) > len(sites):
                return
            # What stands behind begins a block of its own.
            self._assign([*group, *self._find(behind)], sites[:len(group)] + sites[blocks * len(_MEMORIES):])
        # The vector engine's have the next row, or where there is none left, the one with most room.
        taken = {cell["attributes"].get("BEL") for cell in self.memories.values()}
        rows = ([site for site in self._sites(y) if site not in taken] for y in free[:1] or self.grid.memories)
        sites, group = max(rows, key=len), self._find(_VECTOR)
        # Lanes' tables are the first of them, and come to the middle.
        first = -(-max(0, len(sites) - len(group)) // (2 * len(_MEMORIES))) * len(_MEMORIES)
        self._assign(group, sites[first:])

    def _sites(self, y):
        return [f"X{block + x}/Y{y}/{site}" for block in self.grid.blocks for x, site in _MEMORIES]

    def _assign(self, names, sites):
        """One each; those beyond the last site have none."""
        for name, site in zip(names, sites, strict=False):
            self.memories[name]["attributes"]["BEL"] = site

    def _find(self, pattern):
        """Names of block RAM, by the bits that they hold and by bank."""
        def order(name):
            shard, words = _SHARD.search(name), re.split(r"(\d+)", name)
            return int(shard[1]) if shard else 0, int(pattern.search(name)[1] or 0), words[::2], [*map(int, words[1::2])]

        return sorted(filter(pattern.search, self.memories), key=order)
