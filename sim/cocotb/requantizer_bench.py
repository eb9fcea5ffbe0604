"""Random jobs for the requantizer, and what has to come out of it."""

from collections import deque

import numpy as np
from amaranth.lib import data
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw.vector.issue import item_layout
from weft.hw.vector.job import Element, Kind, ParameterRecord, Step
from weft.hw.vector.state import DivisionState, NormState
from weft.sim import numerics
from weft.sim.cocotb.packing import pack, unpack
from weft.sim.cocotb.vector_part import CONFIG, GROUPS, JOB, LANES, Part, bits

__all__ = ["RequantizerBench"]

#: Cycles of an item's first products.
PARTS = LANES // CONFIG.norm_lanes
ITEM = item_layout(CONFIG)
RECORDS = data.ArrayLayout(ParameterRecord, LANES)
KINDS = {Element.INT8: "int8", Element.UINT8: "uint8", Element.INT16: "int16"}


class RequantizerBench(Part):
    """One job at a time through the requantizer: what goes in, item by item, and what has to come out.

    Parameter records are there from the launch of a group's first item until they are released, and noise otherwise;
    the rows' values come in the cycle after they have been asked for.
    """

    def job(self, kind):
        """Draws a job; sets `fields`, `items` with sources and seconds, `records` of the groups and `expected`."""
        random, numbers = self.random, self.numbers
        rows, groups = random.randint(1, 6), random.randint(1, 2 * GROUPS + 1)
        first_row = random.randrange(CONFIG.state_rows - rows + 1)
        shape = (groups, rows, LANES)
        f = dict(kind=kind, rows=rows, tiles=1, features=random.randint(1, 16384),
                 dst_type=Element(random.randrange(3)))
        shift = numbers.integers(1, 64, (groups, LANES))
        if CONFIG.constant_channels and kind == Kind.REQUANT:
            shift[numbers.random((groups, LANES)) < 0.3] = 0
        mult = numbers.integers(-1 << 17, 1 << 17, (groups, LANES))
        bias = numbers.integers(-1 << 30, 1 << 30, (groups, LANES))
        zero = numbers.integers(0, 256, (groups, LANES))
        x = numbers.integers(-1 << random.choice((7, 15, 30)), 1 << random.choice((7, 15, 30)), shape)
        second = numbers.integers(-1 << 15, 1 << 15, shape)
        visible = np.ones(shape, bool)
        keys = numbers.integers(0, LANES + 1, (groups, rows))
        self.norm = (numbers.integers(-1 << 29, 1 << 29, rows), numbers.integers(0, 1 << 16, rows),
                     numbers.integers(4, 34, rows))
        self.division = numbers.integers(0, 1 << 17, rows), numbers.integers(1, 64, rows)
        if kind == Kind.REQUANT:
            f |= dict(residual=random.getrandbits(1), multiply=random.getrandbits(1), row_scale=random.getrandbits(1),
                      table=random.getrandbits(1), slot=random.getrandbits(1))
            if f["multiply"]:
                x = numbers.integers(-1 << 15, 1 << 15, shape)
            if f["table"]:
                f["dst_type"] = Element(random.randrange(2))
        elif kind == Kind.SOFTMAX:
            f |= dict(mask=random.getrandbits(1))
            visible = (np.arange(LANES) < keys[..., None]) & ((second & 1 == 1) | (f["mask"] == 0))
        else:
            x = numbers.integers(-1 << 15, 1 << 15, shape)
            if kind == Kind.NORM:
                # A row's sum is near its elements times their number.
                self.norm[0][:] = f["features"] * numbers.integers(-1 << 14, 1 << 14, rows)
        wide = [v[:, None, :] for v in (mult, shift, bias)]
        signed_zero = zero if f["dst_type"] == Element.UINT8 and kind != Kind.SOFTMAX else zero - (zero >> 7 << 8)
        if kind == Kind.NORM:
            y = np.stack([numerics.normalize(x[g], *self.norm, f["features"], *(v[g] for v in wide), signed_zero[g])
                          for g in range(groups)])
        elif kind == Kind.SOFTMAX:
            y = numerics.requantize(x, *wide)
        elif kind == Kind.REQUANT:
            source = x * second if f["multiply"] else x
            if CONFIG.constant_channels and not f["row_scale"]:
                source = numerics.without_constants(source, shift[:, None, :])
            scale = [v[None, :, None] for v in self.division] if f["row_scale"] else wide[:2]
            y = numerics.requantize(source, *scale, wide[2], signed_zero[:, None, :])
            y = y + second if f["residual"] else y
        if kind == Kind.STATS:
            y = x * x
        elif f.get("table"):
            y = self.tables[f["slot"]][numerics.clamp(y, "int8") & 255]
        else:
            y = numerics.clamp(y, "int16" if kind == Kind.SOFTMAX else KINDS[f["dst_type"]])
        self.kind, self.fields, self.first_row = kind, f, first_row
        self.records = deque(
            RECORDS.const([dict(bias=int(bias[g, n]) & 0xFFFFFFFF, mult=int(mult[g, n]) & 0x3FFFF,
                                shift=int(shift[g, n]), zero=int(zero[g, n])) for n in range(LANES)]).as_bits()
            for g in range(groups))
        self.items, self.expected = deque(), deque()
        for g in range(groups):
            for row in range(rows):
                item = dict(fresh=int(row == 0 and kind != Kind.STATS), first=random.getrandbits(1),
                            last=random.getrandbits(1), group=g % GROUPS, step=Step(random.randrange(4)),
                            dst_done=random.getrandbits(1), row=first_row + row, keys=int(keys[g, row]))
                self.items.append((item, pack(x[g, row], 32), pack(second[g, row], 16)))
                self.expected.append((item, y[g, row], visible[g, row]))
        self.set(job=bits(JOB, **f))

    async def write_tables(self):
        self.tables = self.numbers.integers(0, 256, (2, 256))
        for slot in range(2):
            self.set(job=bits(JOB, kind=Kind.TABLE, slot=slot), table_write=1)
            for word in range(64):
                self.set(table_word=word, table_data=pack(self.tables[slot][4 * word:4 * word + 4], 8))
                await RisingEdge(self.dut.clk)
        self.set(table_write=0)

    def compare(self):
        """What comes out in this cycle."""
        if self.get("product_valid"):
            item, y, _ = self.expected.popleft()
            assert np.array_equal(unpack(self.get("products"), 32, LANES), y), (self.fields, item)
            assert (self.get("product_first"), self.get("product_last")) == (item["first"], item["last"])
        if self.get("done"):
            item, y, visible = self.expected.popleft()
            kind = "int16" if self.kind == Kind.SOFTMAX else KINDS[self.fields["dst_type"]]
            width = 16 if kind == "int16" else 8
            found = [value & (1 << width) - 1 for value in unpack(self.get("results"), 16, LANES)]
            assert found == [int(value) & (1 << width) - 1 for value in y], (self.fields, item, found, y)
            if self.kind == Kind.SOFTMAX:
                assert np.array_equal(unpack(self.get("visible"), 1, LANES, signed=False), visible), (self.fields, item)
            done = ITEM.from_bits(self.get("done_item"))
            assert (done.group, done.step, done.dst_done) == (item["group"], item["step"], item["dst_done"])

    async def run(self, rate):
        """Sends all items of the job with gaps and compares what comes; a norm's are an even number of cycles apart. Products
        take a cycle for each part, and the item is launched with the last one."""
        await FallingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        free, loaded, cycle = True, set(), 0            # free: the records are; loaded: of the next item's operands
        parts = PARTS if self.kind in (Kind.NORM, Kind.STATS) or self.fields.get("multiply") else 1
        part = 0
        row_value = {"norm": None, "division": None}
        while self.expected:
            item, source, second = self.items[0] if self.items else (None, 0, 0)
            # An item leaves after its operands have come, the next one's may come in the same cycle.
            goes_on = part > 0 or (len(loaded) == 2 and self.chance(rate) and (free or not item["fresh"])
                                   and (self.kind != Kind.NORM or cycle % 2 == 0))
            launch = goes_on and part == parts - 1
            self.set(multiplying=goes_on)
            if PARTS > 1:       # else the port has no bits
                self.set(part=part)
            part = (part + goes_on) % parts
            self.set(launch=launch, launched=bits(ITEM, **item) if launch else self.noise("launched"))
            if launch:
                if item["fresh"]:
                    free = False
                    self.set(records=self.records.popleft())
                self.items.popleft()
                loaded = set()
                item, source, second = self.items[0] if self.items else (None, 0, 0)
            elif free:
                self.set(records=self.noise("records"))
            arrives = False
            for operand, value in ("source", source), ("second", second):
                load = item is not None and operand not in loaded and self.chance(rate)
                self.set(**{f"load_{operand}": load, operand: value if load else self.noise(operand)})
                if load:
                    loaded.add(operand)
                    arrives = len(loaded) == 2
            self.set(arrives=arrives, arriving_row=item["row"] if arrives else self.noise("arriving_row"))
            for name, value in row_value.items():
                if value is not None:
                    self.set(**{f"{name}_read_value": value})
            await FallingEdge(self.dut.clk)
            self.compare()
            if self.get("release"):
                free = True
            if self.get("norm_read_enable"):
                row_sum, root, shift = (int(v[self.get("norm_read_row") - self.first_row]) for v in self.norm)
                row_value["norm"] = bits(NormState, row_sum=row_sum, root=root, shift=shift - 1)
            if self.get("division_read_enable"):
                mult, shift = (int(v[self.get("division_read_row") - self.first_row]) for v in self.division)
                row_value["division"] = bits(DivisionState, mult=mult, shift=shift - 1)
            await RisingEdge(self.dut.clk)
            cycle += 1
            assert cycle < 20_000, f"{len(self.expected)} items did not come out"
        self.set(launch=0, arrives=0, load_source=0, load_second=0, multiplying=0)
        await FallingEdge(self.dut.clk)
        assert not self.get("busy")
