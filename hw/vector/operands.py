"""From the memories' data to the lanes: waits for it, and picks the group's bytes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import READ_LATENCY
from .issue import Accepted, item_layout
from .job import Element, Kind, job_layout, multiplies

__all__ = ["Operands"]


class Operands(wiring.Component):
    """Turns accepted reads into operands of the lanes' stage 0.

    Source and second operand are loaded when each arrives. The item counts as launched when both are there; with first
    products it stays for as many cycles as they have parts, and is launched in the last of them. A norm starts only in odd
    cycles, so that its second pass always finds a free slot. `Issue` keeps the next operands away for as long.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(job_layout(config))
    issued, item, source_accepted, second_accepted, item_accepted : In
        From `Issue`.
    accumulator_data, source_data, second_data : In
        Data of the ports, READ_LATENCY after their requests.
    load_source, source, load_second, second : Out
        For stage 0: ``source`` int32, ``second`` int16 for each lane (mask bits in bit 0).
    multiplying, part : Out
        First products of this part are due.
    odd : Out(1)
        Every other cycle.
    arrives, arriving_row : Out
        An item of this row will be in stage 0 from the next cycle on.
    launch, launched : Out
        An item in stage 0 leaves it at the end of the cycle.
    busy : Out(1)
        An item is on its way.
    """

    def __init__(self, config):
        self.config = config
        lanes = config.vector_lanes
        super().__init__({
            "job": In(job_layout(config)),
            "source_accepted": In(Accepted(config)), "second_accepted": In(Accepted(config)),
            "issued": In(1), "item_accepted": In(1), "item": In(item_layout(config)),
            "accumulator_data": In(data.ArrayLayout(signed(32), config.cols)),
            "source_data": In(8 * config.line_bytes), "second_data": In(8 * config.line_bytes),
            "load_source": Out(1), "source": Out(data.ArrayLayout(signed(32), lanes)),
            "load_second": Out(1), "second": Out(data.ArrayLayout(signed(16), lanes)),
            "multiplying": Out(1), "part": Out(range(lanes // config.norm_lanes)), "odd": Out(1),
            "arrives": Out(1), "arriving_row": Out(range(config.state_rows)),
            "launch": Out(1), "launched": Out(item_layout(config)), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, job = self.config, self.job
        lanes = config.vector_lanes
        # Registers: the job has been there for some cycles when its first item comes.
        norm, multiplied = Signal(), Signal()
        m.d.sync += [norm.eq(job.kind == Kind.NORM), multiplied.eq(multiplies(job))]

        def delayed(valid, fields, name):
            """Whether a read was accepted READ_LATENCY cycles ago, and the `fields` (a list of values) of its item."""
            enable = self.issued        # they stay until its reads are accepted: `valid` comes late and enables nothing
            for stage in range(READ_LATENCY):
                after = Signal(name=f"{name}_valid_{stage}")
                registers = [Signal(value.shape(), name=f"{name}_{index}_{stage}", reset_less=True)
                             for index, value in enumerate(fields)]
                m.d.sync += after.eq(valid)
                with m.If(enable):
                    m.d.sync += [register.eq(value) for register, value in zip(registers, fields)]
                in_flight.append(after)
                enable, valid, fields = after, after, registers
            return valid, fields

        in_flight = []

        def pick(line, half, group, kind):
            """int16 elements of `group` in a line of type `kind`, one a lane."""
            word = Signal(8 * config.word_bytes, name="word_of_line")
            m.d.comb += word.eq(line.word_select(half, 8 * config.word_bytes))
            narrow = word[:8 * config.panel].word_select(group, 8 * lanes)
            wide = line[:16 * config.panel].word_select(group, 16 * lanes)
            elements = []
            for lane in range(lanes):
                byte = narrow[8 * lane:8 * lane + 8]
                sign = byte[7] & (kind == Element.INT8)
                elements.append(Mux(kind == Element.INT16, wide[16 * lane:16 * lane + 16],
                                    Cat(byte, sign.replicate(8))).as_signed())
            return elements

        accepted = self.source_accepted
        valid, (half, group, part) = delayed(accepted.valid, [accepted.half, accepted.group, accepted.part], "source")
        m.d.comb += self.load_source.eq(valid)
        sums = self.accumulator_data.as_value().word_select(part, 32 * lanes)
        elements = pick(self.source_data, half, group, job.src_type)
        for lane in range(lanes):
            m.d.comb += self.source[lane].eq(Mux(
                job.src_type == Element.ACC, sums[32 * lane:32 * lane + 32].as_signed(), elements[lane]))

        accepted = self.second_accepted
        valid, (half, group, part, slot) = delayed(
            accepted.valid, [accepted.half, accepted.group, accepted.part, accepted.slot], "second")
        m.d.comb += self.load_second.eq(valid)
        elements = pick(self.second_data, half, group, job.res_type)
        masks = self.second_data.word_select(half, 8 * config.word_bytes)
        mask = masks.word_select(slot, config.mask_slot_bits)[:config.cols].word_select(part, lanes)
        for lane in range(lanes):
            m.d.comb += self.second[lane].eq(Mux(job.kind == Kind.SOFTMAX, mask[lane], elements[lane]))

        # The item itself; its data is in stage 0 one cycle after it has passed the read latency.
        valid, (item,) = delayed(self.item_accepted, [self.item.as_value()], "item")
        m.d.comb += [self.arrives.eq(valid), self.arriving_row.eq(data.View(item_layout(config), item).row)]
        waiting = Signal()
        launched = Signal(item_layout(config), reset_less=True)
        parts = lanes // config.norm_lanes
        last_part = self.part == parts - 1
        m.d.sync += self.odd.eq(~self.odd)
        m.d.comb += [
            self.multiplying.eq(waiting & ((self.part != 0) | ~norm | self.odd)),
            self.launch.eq(self.multiplying & (last_part | ~multiplied)), self.launched.eq(launched),
        ]
        if parts > 1:
            with m.If(self.multiplying & multiplied):
                m.d.sync += self.part.eq(Mux(last_part, 0, self.part + 1))
        with m.If(valid):
            m.d.sync += [waiting.eq(1), launched.eq(item)]
        with m.Elif(self.launch):
            m.d.sync += waiting.eq(0)
        m.d.comb += self.busy.eq(Cat(in_flight).any() | waiting)
        return m
