"""The loop of an instruction: which reads to ask for, and what each element needs on its way."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from ..interfaces import READ_LATENCY, AccumulatorRead, ScratchpadRead
from .job import Element, Kind, Step, job_layout, multiplies
from .loops import AddressWalker, GroupCounter
from .softmax import ROWS as SOFTMAX_ROWS

__all__ = ["Issue", "Accepted", "item_layout"]


def item_layout(config):
    """What accompanies one item, ``vector_lanes`` channels of one row, through the lanes.

    fresh
        The first of its group with new parameters.
    first, last
        Of its row (STATS, SOFTMAX).
    group, step
        Where the result goes: group within the panel; how the destination goes on after it.
    src_done, dst_done
        After its reads, after its write: a token is due.
    row
        Row of the state memories.
    keys
        SOFTMAX: how many of the group's keys length and causality leave visible.
    """
    return data.StructLayout({
        "fresh": 1, "first": 1, "last": 1, "group": range(config.panel // config.vector_lanes), "step": Step,
        "src_done": 1, "dst_done": 1, "row": range(config.state_rows), "keys": range(config.vector_lanes + 1),
    })


class Accepted(Signature):
    """``valid``: a read has been accepted in this cycle, of the item issued last or in this cycle. The rest belongs to an item
    that is issued in this cycle: which part of the data that will come is meant."""

    def __init__(self, config):
        super().__init__({
            "valid": Out(1), "half": Out(1), "group": Out(range(config.panel // config.vector_lanes)),
            "part": Out(range(config.groups_per_tile)), "slot": Out(range(config.mask_tiles_per_word)),
        })


class Issue(wiring.Component):
    """Issues the items of a job: asks for the reads of one item, source and perhaps second operand, until both have been
    accepted, in any order, before it issues the next; one item a cycle where every read is accepted at once and the item takes
    one cycle.

    Loops: group: row, or with ``by_rows`` row: group. Requests, once raised, stay until accepted. The loop does not: it goes on
    as an item is issued, and what has been refused asks again from a register, so that the answers, which come late in their
    cycle, decide nothing but whether the next item may be issued in the next one.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(job_layout(config))
    start : In(1)
        The job has been loaded; the loop begins two cycles later, when it is prepared.
    prepared, prepared_next : In(1), take : Out(1)
        As at `Preparer`.
    odd : In(1)
        As at `Operands`.
    item_freed, row_freed : In(1)
        SOFTMAX: an item has left the ring of scores, a row the queue of rows; each has room for so many.
    row_end_freed : In(1)
        STATS: the root of a row has been written; one row at a time may be between its last item and that.
    running, stalled, starved : Out(1)
        Items remain; a read has not been accepted; the next group is not prepared.
    accumulators, source_read, second_read : Out
        Read ports. ``source_read`` asks for a source in the accumulators, too: whoever shares its port knows better.
    issued, item : Out
        An item is issued.
    source, second : Out(Accepted(config))
        Accepted reads.
    item_valid : Out(1)
        The last of the reads of the item issued last, or in this cycle, is accepted.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "job": In(job_layout(config)), "start": In(1), "prepared": In(1), "prepared_next": In(1),
            "take": Out(1),
            "odd": In(1), "item_freed": In(1), "row_freed": In(1), "row_end_freed": In(1),
            "running": Out(1), "stalled": Out(1), "starved": Out(1),
            "accumulators": Out(AccumulatorRead(config)), "source_read": Out(ScratchpadRead(config)),
            "second_read": Out(ScratchpadRead(config)),
            "source": Out(Accepted(config)), "second": Out(Accepted(config)),
            "issued": Out(1), "item_valid": Out(1), "item": Out(item_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, job, item = self.config, self.job, self.item
        # Registers: the loop begins two cycles behind the job.
        softmax, stats = Signal(), Signal()
        from_accumulators = Signal()
        by_tokens = Signal()
        by_rows, uses_second = Signal(), Signal()
        parts = config.product_parts
        rests = Signal()                # after each item
        m.d.sync += [
            rests.eq(multiplies(job) if parts > 1 else job.kind == Kind.NORM),
            softmax.eq(job.kind == Kind.SOFTMAX), stats.eq(job.kind == Kind.STATS),
            by_rows.eq(job.by_rows), uses_second.eq(job.res_used),
            from_accumulators.eq(job.src_type == Element.ACC),
            by_tokens.eq((job.kind == Kind.REQUANT) | (job.kind == Kind.NORM)),
        ]

        # Position in the loop.
        m.submodules.groups = groups = GroupCounter(config)
        row, rows_left = Signal(12), Signal(12)     # number of the row; rows with this one
        row_first, row_last, at_end = Signal(), Signal(), Signal()
        advance = self.issued
        m.d.comb += [
            at_end.eq(row_last & groups.last),
            groups.tiles.eq(job.tiles), groups.restart.eq(self.start),
            groups.advance.eq(advance & (by_rows | row_last)),
        ]
        next_row = Signal()
        m.d.comb += next_row.eq(advance & (~by_rows | groups.last))
        with m.If(self.start | next_row):
            with m.If(self.start | row_last):
                m.d.sync += [row.eq(0), rows_left.eq(job.rows), row_first.eq(1), row_last.eq(job.rows == 1)]
            with m.Else():
                m.d.sync += [row.eq(row + 1), rows_left.eq(rows_left - 1), row_first.eq(0), row_last.eq(rows_left == 2)]

        # A group begins with this item: of the one preparation with ``by_rows``, else whenever the rows begin.
        wants_group = Signal()
        with m.If(self.start):
            m.d.sync += wants_group.eq(1)
        with m.Elif(advance):
            m.d.sync += wants_group.eq(~by_rows & row_last)

        setup = Signal(2)
        runs = Signal()         # items are left to issue
        m.d.sync += setup.eq(setup << 1 | self.start)
        with m.If(setup[1]):
            m.d.sync += runs.eq(1)
        with m.Elif(advance & at_end):
            m.d.sync += runs.eq(0)

        # Addresses.
        by_groups_step = Signal(Step)
        by_rows_step = Signal(Step)
        source_turn = Signal()          # the next group lies in another word
        m.d.comb += [
            source_turn.eq(Mux(from_accumulators, groups.tile_end, groups.panel_end)),
            by_groups_step.eq(Mux(~row_last, Step.INNER, Mux(source_turn, Step.OUTER, Step.RESTART))),
            by_rows_step.eq(Mux(groups.last, Step.OUTER, Mux(source_turn, Step.INNER, Step.STAY))),
        ]
        m.submodules.source_address = source_address = AddressWalker(len(job.src_base))
        m.submodules.second_address = second_address = AddressWalker(len(job.res_base))
        for walker, operand in (source_address, "src"), (second_address, "res"):
            m.d.comb += [
                walker.load.eq(setup[0]), walker.base.eq(getattr(job, operand + "_base")),
                walker.inner.eq(getattr(job, operand + "_inner")), walker.outer.eq(getattr(job, operand + "_outer")),
                walker.advance.eq(advance),
            ]
        m.d.comb += source_address.step.eq(Mux(by_rows, by_rows_step, by_groups_step))

        # Mask words: a slot for each tile. The first slot is that of tile key_start / cols, exact, modulo a power of two.
        slot = Signal(range(config.mask_tiles_per_word))
        slots = config.mask_tiles_per_word
        twos = (config.cols & -config.cols).bit_length() - 1
        inverse = pow(config.cols >> twos, -1, slots) if slots > 1 else 0
        first_slot = Signal.like(slot)
        m.d.comb += first_slot.eq((job.key_start >> twos) * inverse)
        with m.If(setup[0] | (advance & groups.tile_end)):
            m.d.sync += slot.eq(Mux(setup[0] | groups.last, first_slot, slot + 1))
        with m.If(softmax):
            m.d.comb += second_address.step.eq(Mux(groups.last, Step.OUTER, Mux(
                groups.tile_end & (slot == slots - 1), Step.INNER, Step.STAY)))
        with m.Else():
            m.d.comb += second_address.step.eq(Mux(~row_last, Step.INNER, Mux(
                groups.panel_end, Step.OUTER, Step.RESTART)))

        # Visible keys of the group, counted from its first: up to the length, and up to the query's own position.
        length_left = Signal(signed(19))
        next_position = Signal(signed(19))      # of the row that begins next
        keys_left = Signal(signed(19))
        with m.If(setup[0]):
            m.d.sync += [length_left.eq(job.key_limit - job.key_start),
                         next_position.eq(job.query_start + 1 - job.key_start)]
        with m.Elif(setup[1] | (advance & groups.last)):
            m.d.sync += next_position.eq(next_position + 1)
        with m.If(setup[1] | (advance & softmax)):
            with m.If(setup[1] | groups.last):
                m.d.sync += keys_left.eq(Mux(job.causal & (next_position < length_left), next_position, length_left))
            with m.Else():
                m.d.sync += keys_left.eq(keys_left - config.vector_lanes)

        # Requests begin at registers: those of an item that is issued in this cycle, or what was refused in the one before.
        asks_source, asks_second, waits = Signal(), Signal(), Signal()
        # What they ask for follows the walk, but for what has been refused.
        source = Signal.like(source_address.address, reset_less=True)
        second_line = Signal.like(self.second_read.line, reset_less=True)
        refused_source, refused_second = Signal(), Signal()
        with m.If(~refused_source):
            m.d.sync += source.eq(source_address.following)
        with m.If(~refused_second):
            m.d.sync += second_line.eq(second_address.following[1:])
        m.d.comb += [
            self.accumulators.valid.eq(asks_source & from_accumulators), self.accumulators.address.eq(source),
            self.source_read.valid.eq(asks_source), self.source_read.line.eq(source[1:]),
            self.second_read.valid.eq(asks_second),
            self.second_read.line.eq(second_line),
            refused_source.eq(asks_source & ~Mux(from_accumulators, self.accumulators.ready, self.source_read.ready)),
            refused_second.eq(asks_second & ~self.second_read.ready),
            self.source.valid.eq(asks_source & ~refused_source), self.second.valid.eq(asks_second & ~refused_second),
            self.item_valid.eq((asks_source | asks_second) & ~refused_source & ~refused_second),
            self.source.half.eq(source_address.address[0]), self.second.half.eq(second_address.address[0]),
            self.stalled.eq(waits), self.running.eq(runs | waits),
            self.starved.eq(runs & wants_group & ~self.prepared & ~waits), self.take.eq(advance & wants_group),
        ]
        for accepted in self.source, self.second:
            m.d.comb += [accepted.group.eq(groups.group), accepted.part.eq(groups.part), accepted.slot.eq(slot)]

        # Whether the next item may be issued in the next cycle is known before the answers come.
        may_issue = Signal()
        pause = Signal(range(parts + 2))        # cycles until the next item may be issued
        room, room_after = self._room(m, groups, softmax, stats, advance)
        m.d.comb += may_issue.eq(Mux(
            advance,
            ~at_end & ~rests & room_after & (by_rows | ~row_last | (self.prepared_next & ~wants_group)),
            (runs | setup[1]) & Mux(waits, ~rests, pause <= 1) & room & (self.prepared_next | ~wants_group)))
        m.d.sync += [
            advance.eq(may_issue & ~refused_source & ~refused_second),
            asks_source.eq(refused_source | (may_issue & ~refused_second)),
            asks_second.eq(refused_second | (may_issue & uses_second & ~refused_source)),
            waits.eq(refused_source | refused_second),
        ]

        # An item stays in front of the lanes for the parts of its first products. A norm takes an even number of cycles, two
        # at least, and with several parts one more if it will have to wait for an odd one, so that its operands stay.
        uneven = (self.odd if READ_LATENCY % 2 == 0 else ~self.odd) if parts > 1 else 0
        with m.If(advance | waits):
            with m.If(job.kind == Kind.NORM):
                m.d.sync += pause.eq(parts - 1 + parts % 2 + uneven)
            with m.Elif(multiplies(job)):
                m.d.sync += pause.eq(parts - 1)
        with m.Elif(pause != 0):
            m.d.sync += pause.eq(pause - 1)

        # The item.
        lanes = config.vector_lanes
        m.d.comb += [
            item.first.eq(groups.first), item.last.eq(groups.last), item.group.eq(groups.group),
            item.step.eq(Mux(~row_last, Step.INNER, Mux(groups.panel_end, Step.OUTER, Step.RESTART))),
            item.row.eq(job.state_base + row),
            item.keys.eq(Mux(keys_left < 0, 0, Mux(keys_left > lanes, lanes, keys_left[:lanes.bit_length()]))),
            item.src_done.eq(Mux(job.src_signal_each & by_tokens, row_last & groups.tile_end, at_end)),
            item.dst_done.eq(Mux(job.dst_signal_each, row_last & groups.panel_end, at_end) & by_tokens),
        ]
        held = Signal()         # the group keeps the parameters of the group before
        if config.groups_per_tile == 1:
            m.d.comb += held.eq(job.param_hold & ~groups.first_tile)
        m.d.comb += item.fresh.eq(wants_group & (softmax | (by_tokens & ~held)))
        return m

    def _room(self, m, groups, softmax, stats, advance):
        """Whether there will be room in the next cycle: for the current item, and for the one after it if this is issued now.

        Other instructions than SOFTMAX and STATS leave the counters as they are: with room.
        """
        depth = self.config.softmax_ring
        items_full, items_nearly = self._fills(m, "items", depth, advance & softmax, self.item_freed)
        rows_full, rows_nearly = self._fills(m, "rows", SOFTMAX_ROWS, advance & softmax & groups.first, self.row_freed)
        row_end = Signal()      # a row of STATS is between its last item and the end of its root
        with m.If(advance & groups.last & stats):
            m.d.sync += row_end.eq(1)
        with m.Elif(self.row_end_freed):
            m.d.sync += row_end.eq(0)

        row_end_stays = row_end & ~self.row_end_freed
        room, room_after = Signal(), Signal()
        m.d.comb += [
            room.eq((self.item_freed | ~items_full) & (~groups.first | self.row_freed | ~rows_full)
                    & ~(groups.last & row_end_stays)),
            # Behind a row's last item comes a row's first.
            room_after.eq((self.item_freed | ~items_nearly)
                          & (~groups.last | self.row_freed | ~Mux(groups.first, rows_nearly, rows_full))
                          & ~(groups.next_last & stats & (groups.last | row_end_stays))),
        ]
        return room, room_after

    @staticmethod
    def _fills(m, name, limit, comes, goes):
        """Of a count of what comes and goes: whether it is ``limit``, and one less. Both stand in registers, since what frees a
        place comes late."""
        count = Signal(range(limit + 1), name=name)
        full, nearly = Signal(name=f"{name}_full"), Signal(name=f"{name}_nearly", init=limit == 1)
        with m.If(comes ^ goes):
            m.d.sync += [count.eq(Mux(goes, count - 1, count + 1)), full.eq(~goes & nearly),
                         nearly.eq(Mux(goes, full, count == limit - 2))]
        return full, nearly
