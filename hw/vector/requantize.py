"""The lanes and the control that moves items through them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..memory.wrapper import OnChipMemory
from .issue import item_layout
from .job import Element, Kind, ParameterRecord, job_layout, multiplies
from .lane import LaneControl, RequantizeLane
from .products import Products
from .state import DivisionState, NormState, StateRead
from .tables import Tables

__all__ = ["Requantizer"]

_STAGES = 8
# Items between stage 0 and stage 6.
_HELD_OPERANDS = 8


class Requantizer(wiring.Component):
    """``vector_lanes`` `RequantizeLane`, their first products and tables, and what travels beside the items.

    An item that is launched in stage 0 is in stage 7 seven cycles later, after a second round through stages 2 to 6 twelve
    cycles later for a norm. STATS uses stages 0 and 1 only. First products are made part by part (`Products`); an item that
    takes them is launched with its last part.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(job_layout(config))
        From two cycles before its first item is launched.
    load_source, source, load_second, second, multiplying, part, arrives, arriving_row, launch, launched : In
        From `Operands`.
    records : In
        From `Preparer`; ``release`` Out(1) says that they have been taken over.
    norm_read, division_read : Out(StateRead)
    table_write, table_word, table_data : In
        Writes the table of the job's slot.
    elements : Out(ArrayLayout(signed(16), vector_lanes))
        Stage 0.
    product_valid, product_first, product_last : Out(1); products : Out(ArrayLayout(signed(32), vector_lanes))
        Stage 1.
    done, done_next : Out(1); done_item : Out(item_layout(config))
        Stage 7 holds an item, or with ``table`` held it a cycle ago; it will in the next cycle.
    results : Out(ArrayLayout(signed(16), vector_lanes))
        Its results.
    scores : Out(ArrayLayout(signed(16), vector_lanes)); visible : Out(vector_lanes)
        For SOFTMAX: its results, before any table, and which keys are visible.
    busy : Out(1)
    """

    def __init__(self, config):
        self.config = config
        lanes = config.vector_lanes
        super().__init__({
            "job": In(job_layout(config)),
            "load_source": In(1), "source": In(data.ArrayLayout(signed(32), lanes)),
            "load_second": In(1), "second": In(data.ArrayLayout(signed(16), lanes)),
            "multiplying": In(1), "part": In(range(lanes // config.norm_lanes)),
            "arrives": In(1), "arriving_row": In(range(config.state_rows)),
            "launch": In(1), "launched": In(item_layout(config)),
            "records": In(data.ArrayLayout(ParameterRecord, lanes)), "release": Out(1),
            "norm_read": Out(StateRead(config.state_rows, NormState)),
            "division_read": Out(StateRead(config.state_rows, DivisionState)),
            "table_write": In(1), "table_word": In(6), "table_data": In(32),
            "elements": Out(data.ArrayLayout(signed(16), lanes)),
            "product_valid": Out(1), "product_first": Out(1), "product_last": Out(1),
            "products": Out(data.ArrayLayout(signed(32), lanes)),
            "done": Out(1), "done_next": Out(1), "done_item": Out(item_layout(config)),
            "results": Out(data.ArrayLayout(signed(16), lanes)),
            "scores": Out(data.ArrayLayout(signed(16), lanes)), "visible": Out(lanes), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, job = self.config, self.job
        lanes = config.vector_lanes
        # Registers, because they fan out to every lane; the job has been there for some cycles when its first item comes.
        norm, softmax, stats, multiply = Signal(), Signal(), Signal(), Signal()
        to_byte, unsigned_byte = Signal(), Signal()
        m.d.sync += [norm.eq(job.kind == Kind.NORM), softmax.eq(job.kind == Kind.SOFTMAX),
                     stats.eq(job.kind == Kind.STATS), multiply.eq(multiplies(job)),
                     to_byte.eq((job.kind != Kind.SOFTMAX) & (job.table | (job.dst_type != Element.INT16))),
                     unsigned_byte.eq(~job.table & (job.dst_type == Element.UINT8))]

        # Items in stages 1 to 7; in a norm each goes twice through stages 2 to 6.
        carried = data.StructLayout({name: field.shape for name, field in item_layout(config)
                                     if name in ("fresh", "first", "last", "group", "step", "dst_done")} | {"again": 1})
        valid = [Signal(name=f"valid_{k}") for k in range(_STAGES)]
        item = [Signal(carried, name=f"item_{k}", reset_less=True) for k in range(_STAGES)]
        enter = Signal(_STAGES)
        again = Signal()
        m.d.comb += [
            valid[0].eq(self.launch),
            enter[1].eq(valid[0]),
            enter[2].eq((valid[1] & ~stats) | again),
            enter[7].eq(valid[6] & ~again),
        ]
        for name in carried.members:
            if name != "again":
                m.d.comb += item[0][name].eq(self.launched[name])
        m.d.comb += [enter[k].eq(valid[k - 1]) for k in range(3, 7)]
        m.d.sync += [valid[k].eq(enter[k]) for k in range(1, _STAGES)]
        m.d.sync += again.eq(enter[6] & norm & ~item[5].again)      # goes to every bit of every lane
        for k in range(1, _STAGES):
            with m.If(enter[k]):
                m.d.sync += item[k].eq(item[k - 1])
                if k == 2:
                    with m.If(again):
                        m.d.sync += [item[2].eq(item[6]), item[2].again.eq(1)]
        m.d.comb += [
            self.product_valid.eq(valid[1] & stats), self.product_first.eq(item[1].first),
            self.product_last.eq(item[1].last),
        ]
        # A table's entry takes a register behind its memory, and its item comes out a cycle later.
        looks_up, looked_up = Signal(), Signal()
        looked_up_item = Signal(carried, reset_less=True)
        m.d.sync += [looks_up.eq(job.table), looked_up.eq(valid[7] & looks_up), looked_up_item.eq(item[7]),
                     self.done.eq(self.done_next)]
        m.d.comb += [self.done_next.eq(Mux(looks_up, valid[7], enter[7])), self.busy.eq(Cat(valid, looked_up).any())]
        for name in carried.members:
            if name != "again":
                m.d.comb += self.done_item[name].eq(Mux(looks_up, looked_up_item[name], item[7][name]))

        # Values of the row: sum used in stage 1, multiplier in 2, shift in 3 and 4. A norm's come out of their memory in
        # stage 0, since the lanes' adders need the sum from a register; its items leave every other cycle, so that multiplier
        # and shift, which come with it, stay for stage 2. A division's come out in stage 1.
        m.d.comb += [
            self.norm_read.enable.eq(self.arrives & norm), self.norm_read.row.eq(self.arriving_row),
            self.division_read.enable.eq(self.launch & job.row_scale), self.division_read.row.eq(self.launched.row),
        ]
        row_sum = Signal(signed(30), reset_less=True)
        row_mult = Signal(signed(18), reset_less=True)
        row_shift = [Signal(6, name=f"row_shift_{k}", reset_less=True) for k in range(5)]
        by_rows = Signal()
        m.d.comb += by_rows.eq(norm | job.row_scale)
        with m.If(self.launch & norm):
            m.d.sync += row_sum.eq(self.norm_read.value.row_sum)
        with m.If(Mux(norm, self.launch, valid[1] & job.row_scale)):
            m.d.sync += [
                row_mult.eq(Mux(norm, self.norm_read.value.root, self.division_read.value.mult)),
                row_shift[2].eq(Mux(norm, self.norm_read.value.shift, self.division_read.value.shift)),
            ]
        for k in range(3, 5):
            with m.If(enter[k] & by_rows):
                # The rows' shifts are kept less one.
                m.d.sync += row_shift[k].eq(row_shift[k - 1] + 1 if k == 3 and config.constant_channels else row_shift[k - 1])

        # Whether the item in stage k takes the row's values, from a register too.
        by_row = {k: Signal(name=f"by_row_{k}", reset_less=True) for k in (2, 3, 4)}
        for k, register in by_row.items():
            with m.If(enter[k]):
                m.d.sync += register.eq(job.row_scale | (norm & ~(again if k == 2 else item[k - 1].again)))

        # An item that needs the new parameters is about to leave stage k: from registers too, as every lane is enabled by it.
        takes_over = {k: Signal(name=f"takes_over_{k}") for k in (2, 3, 4, 5)}
        for k, register in takes_over.items():
            comes_again = again | item[1].again if k == 2 else item[k - 1].again
            fresh = Mux(again, item[6].fresh, item[1].fresh) if k == 2 else item[k - 1].fresh
            m.d.sync += register.eq(enter[k] & fresh & (~norm | comes_again))

        m.submodules.multipliers = products = Products(config)
        m.d.comb += [products.part.eq(self.part), products.elements.eq(self.elements)]
        signature = LaneControl(config.constant_channels)
        control = signature.create()
        if config.constant_channels:
            m.d.sync += control.constants.eq((job.kind == Kind.REQUANT) & ~job.row_scale)
        m.d.comb += [
            control.load_source.eq(self.load_source),
            control.load_second.eq(Mux(norm | stats, self.load_source, self.load_second)),
            control.enter.eq(enter), control.multiply.eq(multiply),
            control.subtract.eq(norm), control.row_sum.eq(row_sum), control.again.eq(again),
            control.by_row.eq(by_row[2]), control.row_mult.eq(row_mult), control.add_bias.eq(item[3].again),
            control.coarse_by_row.eq(by_row[3]), control.row_coarse.eq(row_shift[3][3:]),
            control.fine_by_row.eq(by_row[4]), control.row_fine.eq(row_shift[4][:3]),
            control.add_zero.eq(~softmax), control.zero_unsigned.eq(job.dst_type == Element.UINT8),
            control.add_residual.eq(job.residual),
            control.to_byte.eq(to_byte), control.unsigned_byte.eq(unsigned_byte),
            control.load_bias.eq(Mux(norm, takes_over[2], valid[0] & item[0].fresh)),
            control.load_mult.eq(Mux(norm, again & item[6].fresh, valid[1] & item[1].fresh)),
            control.load_coarse.eq(takes_over[2]), control.load_fine.eq(takes_over[3]),
            control.load_zero.eq(takes_over[4]), self.release.eq(takes_over[5]),
        ]
        # Second operands wait in a memory until stage 5; for SOFTMAX the visibility of the keys does, until stage 6.
        m.submodules.held = held = OnChipMemory(16 * lanes, _HELD_OPERANDS)
        write_index, read_index = Signal(3), Signal(3)
        holds = Signal()
        m.d.comb += [
            holds.eq(job.residual | softmax),
            held.write_enable.eq(self.launch & holds), held.write_address.eq(write_index), held.write_mask.eq(1),
            held.read_enable.eq(Mux(softmax, valid[5], valid[4] & job.residual)), held.read_address.eq(read_index),
        ]
        with m.If(held.write_enable):
            m.d.sync += write_index.eq(write_index + 1)
        with m.If(held.read_enable):
            m.d.sync += read_index.eq(read_index + 1)
        residuals = data.View(data.ArrayLayout(signed(16), lanes), held.read_data)

        m.submodules.tables = tables = Tables(lanes)
        m.d.comb += [
            tables.write.eq(self.table_write), tables.write_slot.eq(job.slot), tables.write_word.eq(self.table_word),
            tables.write_data.eq(self.table_data), tables.lookup.eq(enter[7] & job.table), tables.slot.eq(job.slot),
        ]
        entries = Signal.like(tables.values, reset_less=True)
        with m.If(valid[7] & looks_up):
            m.d.sync += entries.eq(tables.values)
        held_values = []
        for number in range(lanes):
            m.submodules[f"lane_{number}"] = lane = RequantizeLane(config.constant_channels)
            m.d.comb += [getattr(lane.control, name).eq(getattr(control, name)) for name in signature.members]
            m.d.comb += [
                lane.source.eq(self.source[number]),
                # A norm multiplies by the features, statistics by the element itself.
                lane.second.eq(Mux(norm, Cat(job.features, Const(0, 1)).as_signed(),
                                   Mux(stats, self.source[number][:16].as_signed(), self.second[number]))),
                lane.control.load_product.eq(Mux(
                    control.multiply, self.multiplying & (self.part == number // config.norm_lanes), self.launch)),
                lane.multiplied.eq(products.products[number % config.norm_lanes]),
                products.seconds[number].eq(lane.second_held),
                lane.record.eq(self.records[number]), lane.residual.eq(residuals[number]),
                self.elements[number].eq(lane.element), self.products[number].eq(lane.product),
                tables.index[number].eq(lane.clamped[:8]),
                self.scores[number].eq(lane.result),
                self.results[number].eq(Mux(looks_up, entries[number], lane.result)),
            ]
            sees = (self.launched.keys > number) & (lane.second_held[0] | ~job.mask)
            held_values.append(Mux(softmax, sees, lane.second_held.as_unsigned())[:16])
        m.d.comb += held.write_data.eq(Cat(held_values))
        with m.If(enter[7] & softmax):
            m.d.sync += self.visible.eq(Cat(residuals[number][0] for number in range(lanes)))
        return m
