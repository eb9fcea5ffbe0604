"""Tokens and parameter records, one group of channels ahead of the loop that uses them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import READ_LATENCY, ScratchpadRead, TokenWait
from .job import Kind, ParameterRecord, job_layout
from .loops import GroupCounter
from .tables import TABLE_WORDS

__all__ = ["Preparer"]


class Preparer(wiring.Component):
    """Makes everything ready for the next group of channels while the current one is computed.

    For REQUANT and NORM, group by group: takes the tokens of the group's tile and panel, then fetches its records. The
    other instructions have one preparation: their tokens, SOFTMAX's records, TABLE's entries.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(job_layout(config))
    start : In(1)
        The job has been loaded.
    prepared, prepared_next : Out(1)
        The next group may be issued, in the next cycle unless it is taken before; ``take`` (with ``prepared``) says that its
        first element is.
    take : In(1)
    release : In(1)
        ``records`` have been taken over; the next ones may be fetched.
    finished : Out(1)
        Nothing is left to prepare (nor was given away, for the last group).
    waiting : Out(1)
        A token is missing: of the counter that ``semaphore`` names.
    semaphore : Out(isa.SEMAPHORE_BITS)
    records : Out(ArrayLayout(ParameterRecord, vector_lanes))
        Of the prepared group.
    division_mult, division_shift : Out
        M and s of a softmax's division.
    table_write, table_word, table_data : Out
        Entries for `Tables`.
    read : Out(ScratchpadRead(config)); reads_on, last_read : Out(1)
        ``ready`` is only to come with ``valid``. Another request follows in the next cycle, unless this one is accepted and the
        last.
    src_wait, dst_wait : Out(TokenWait())
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "job": In(job_layout(config)), "start": In(1), "prepared": Out(1), "prepared_next": Out(1),
            "take": In(1), "release": In(1),
            "finished": Out(1), "waiting": Out(1), "semaphore": Out(isa.SEMAPHORE_BITS),
            "records": Out(data.ArrayLayout(ParameterRecord, config.vector_lanes)),
            "division_mult": Out(18), "division_shift": Out(6),
            "table_write": Out(1), "table_word": Out(6), "table_data": Out(32),
            "read": Out(ScratchpadRead(config)), "reads_on": Out(1), "last_read": Out(1),
            "src_wait": Out(TokenWait()), "dst_wait": Out(TokenWait()),
        })

    def elaborate(self, platform):
        m = Module()
        config, job = self.config, self.job
        group_lines = config.param_group_words // 2
        m.submodules.groups = groups = GroupCounter(config)
        m.d.comb += [groups.tiles.eq(job.tiles), groups.advance.eq(self.take)]

        # What a preparation takes: registers, since job and group have been there for a cycle when they are used.
        has_groups = (job.kind == Kind.REQUANT) | (job.kind == Kind.NORM)
        by_group = Signal()             # there are several
        only_tokens, is_table, no_reads = Signal(), Signal(), Signal()
        takes_destination = Signal()    # a token
        divides = Signal()              # a softmax's last block: its division has a record, too
        writes = has_groups | (job.kind == Kind.SOFTMAX)
        has_records = writes & (~job.param_hold | groups.first) if config.groups_per_tile == 1 else writes
        m.d.sync += [
            by_group.eq(has_groups), only_tokens.eq(job.kind == Kind.SYNC), is_table.eq(job.kind == Kind.TABLE),
            no_reads.eq((job.kind != Kind.SYNC) & (job.kind != Kind.TABLE) & ~has_records),
            takes_destination.eq(writes & (job.dst_wait != 0)
                                 & (groups.first | (job.dst_wait_each & has_groups & groups.first_of_panel))),
            divides.eq((job.kind == Kind.SOFTMAX) & job.last),
        ]

        tokens = Signal(12)                     # still to be taken before this group
        some_tokens, one_token = Signal(), Signal()     # any at all; with some: the last one
        # A read's answer comes late and only enables the register of the word that is asked for, of records or of the table.
        # The one behind it is found in the cycle after it was accepted (or the first came), and kept.
        word, behind, kept = (Signal(len(self.read.line) + 1, name=name) for name in ("word", "behind", "kept"))
        moved = Signal()
        accepted = Signal()                     # in the cycle before: a word, `answered_half` of a line
        answered_half = Signal()
        asked = Signal(range(max(group_lines, TABLE_WORDS) + 1))    # number of the word that is asked for
        position = Signal.like(asked)           # in the cycle before
        target = _Target(config)
        m.submodules.target = target
        busy_records = Signal()                 # ``records`` hold what a lane still needs
        records_free = Signal()                 # they do not from the next cycle on

        m.d.comb += [
            self.src_wait.id.eq(job.src_wait), self.dst_wait.id.eq(job.dst_wait),
            target.accepted.eq(accepted), target.position.eq(position),
            target.data.eq(self.read.data), self.read.line.eq(word[1:]),
            self.records.eq(target.records), self.division_mult.eq(target.division.mult),
            self.division_shift.eq(target.division.shift), self.table_write.eq(target.table_write),
            self.table_word.eq(target.table_word), self.table_data.eq(target.table_data),
        ]
        m.d.comb += records_free.eq(~busy_records | self.release)
        with m.If(self.release):
            m.d.sync += busy_records.eq(0)

        # The request is a register, as it goes through two arbitrations: each state says whether the next cycle reads, unless
        # the last read is accepted in this one.
        reads_on, last_read, ends = self.reads_on, self.last_read, Signal()
        m.d.comb += ends.eq(self.read.ready & last_read)
        m.d.sync += [self.read.valid.eq(reads_on & ~ends), accepted.eq(self.read.ready), answered_half.eq(word[0])]

        # The division's record lies behind those of a whole tile: so many lines from its group's last one.
        to_division = (config.param_tile_words - config.param_group_words) // 2 + 1

        # A table's words lie four bytes apart: several in a half of a line.
        word_bits = (config.word_bytes // 4).bit_length() - 1
        steps = [Signal(range(2 * to_division + 1), name=f"step_{ahead}") for ahead in range(2)]
        last_accepted = Signal()    # in the cycle before: the answer comes late, so that the state changes only then
        # Whether it is the last one, and where the next one lies, stands in registers, of the word of the cycle before and of the
        # one behind: a request depends on it. The first step is taken in the cycle behind the one in which the job comes.
        last_number = Signal.like(asked)
        same_is_last, next_is_last = Signal(), Signal()
        m.d.comb += [
            target.table_half.eq(answered_half), target.to_division.eq(divides & last_accepted), target.to_table.eq(is_table),
            asked.eq(Mux(last_accepted, 0, position + accepted)),
            last_number.eq(Mux(is_table, TABLE_WORDS - 1, group_lines - 1 + divides)),
            last_read.eq(Mux(last_accepted, last_number == 0, Mux(accepted, next_is_last, same_is_last))),
        ]

        def step_behind(number):
            division = (job.kind == Kind.SOFTMAX) & job.last & (number == group_lines - 1)
            return Mux(job.kind == Kind.TABLE, number[:word_bits].all(), Mux(division, 2 * to_division, 2))

        def known(registers, of_number):
            """Registers of what is to be known of `asked` and of the number behind it."""
            for ahead, register in enumerate(registers):
                first, here, next_one = (of_number((start + ahead)[:len(asked)])
                                         for start in (Const(0, len(asked)), position, position + 1))
                m.d.sync += register.eq(Mux(last_accepted, first, Mux(accepted, next_one, here)))

        known((same_is_last, next_is_last), lambda number: number == last_number)
        known(steps, step_behind)
        m.d.sync += [last_accepted.eq(ends), position.eq(asked), moved.eq(self.read.ready), kept.eq(behind)]
        step = Mux(last_accepted, step_behind(Const(0, len(asked))), Mux(accepted, *reversed(steps)))
        m.d.comb += behind.eq(Mux(moved, word + step, kept))
        with m.If(self.read.ready):
            m.d.sync += word.eq(behind)

        def restart(base):
            m.d.sync += [word.eq(base), moved.eq(1)]

        # Reads begin at this register, which says the same as the state.
        becomes_ready = Signal()
        m.d.comb += self.prepared_next.eq(self.prepared | becomes_ready)
        with m.If(self.take):
            m.d.sync += self.prepared.eq(0)
        with m.Elif(becomes_ready):
            m.d.sync += self.prepared.eq(1)

        after_tokens = Signal()     # the group's tokens are taken
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.finished.eq(~self.start), groups.restart.eq(self.start)]
                with m.If(self.start):
                    restart(Mux(job.kind == Kind.TABLE, job.src_base, job.param_base))
                    m.d.sync += [tokens.eq(job.src_waits), one_token.eq(job.src_waits == 1),
                                 some_tokens.eq((job.src_waits != 0) & (job.src_wait != 0))]
                    m.next = "SOURCE"
            with m.State("SOURCE"):
                m.d.comb += [self.waiting.eq(some_tokens & ~self.src_wait.available), self.semaphore.eq(job.src_wait)]
                with m.If(~some_tokens):
                    m.next = "DESTINATION"
                with m.Elif(self.src_wait.available):
                    m.d.comb += self.src_wait.consume.eq(1)
                    m.d.sync += [tokens.eq(tokens - 1), some_tokens.eq(~one_token), one_token.eq(tokens == 2)]
                    with m.If(one_token):
                        m.next = "DESTINATION"
            with m.State("DESTINATION"):
                m.d.comb += self.semaphore.eq(job.dst_wait)
                with m.If(~takes_destination):
                    m.d.comb += after_tokens.eq(1)
                with m.Elif(self.dst_wait.available):
                    m.d.comb += [self.dst_wait.consume.eq(1), after_tokens.eq(1)]
                with m.Else():
                    m.d.comb += self.waiting.eq(1)
                with m.If(after_tokens):
                    with m.If(only_tokens):
                        m.next = "IDLE"
                    with m.Elif(is_table):
                        m.d.comb += reads_on.eq(1)
                        m.next = "TABLE"
                    with m.Elif(no_reads):
                        m.d.comb += becomes_ready.eq(1)
                        m.next = "READY"
                    with m.Else():
                        m.d.comb += reads_on.eq(records_free)
                        m.next = "RECORDS"
            with m.State("RECORDS"):
                m.d.comb += reads_on.eq(self.read.valid | (records_free & ~last_accepted))
                with m.If(last_accepted):
                    # Elements that are issued now need the records later than these arrive.
                    m.d.sync += busy_records.eq(1)
                    m.d.comb += becomes_ready.eq(1)
                    m.next = "READY"
            with m.State("READY"):
                # For the group after this one. Held records of several groups: back to the tile's first.
                m.d.sync += [tokens.eq(1), one_token.eq(1),
                             some_tokens.eq(job.src_wait_each & groups.tile_end & (job.src_wait != 0))]
                if config.groups_per_tile > 1:
                    with m.If(job.param_hold & groups.tile_end):
                        restart(job.param_base)
                with m.If(self.take):
                    with m.If(by_group & ~groups.last):
                        m.next = "SOURCE"
                    with m.Else():
                        m.next = "IDLE"
            with m.State("TABLE"):
                m.d.comb += reads_on.eq(self.read.valid)
                with m.If(last_accepted):
                    m.next = "TABLE_ARRIVE"
            with m.State("TABLE_ARRIVE"):
                with m.If(~target.busy):
                    m.next = "IDLE"
        return m


class _Target(wiring.Component):
    """Takes each line that arrives to where it belongs: records, division or table. ``accepted`` says in the cycle behind it that
    a read has been, of what the others say."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "accepted": In(1), "position": In(6), "to_division": In(1), "to_table": In(1), "table_half": In(1),
            "data": In(8 * config.line_bytes), "busy": Out(1),
            "records": Out(data.ArrayLayout(ParameterRecord, config.vector_lanes)),
            "division": Out(ParameterRecord),
            "table_write": Out(1), "table_word": Out(6), "table_data": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        request = data.StructLayout({"position": 6, "division": 1, "table": 1, "half": 1})
        now = Signal(request)
        m.d.comb += [now.position.eq(self.position), now.division.eq(self.to_division), now.table.eq(self.to_table),
                     now.half.eq(self.table_half)]
        arriving, request_now = self.accepted, now
        pending = [self.accepted]
        for stage in range(READ_LATENCY - 1):
            after = Signal(name=f"arriving_{stage}")
            request_after = Signal(request, name=f"request_{stage}", reset_less=True)
            m.d.sync += after.eq(arriving)
            with m.If(arriving):
                m.d.sync += request_after.eq(request_now)
            pending.append(after)
            arriving, request_now = after, request_after
        m.d.comb += self.busy.eq(Cat(pending).any())

        per_line = config.line_bytes // 8
        records = Signal(data.ArrayLayout(ParameterRecord, config.vector_lanes), reset_less=True)
        m.d.comb += self.records.eq(records)
        with m.If(arriving & ~request_now.table):
            with m.If(request_now.division):
                m.d.sync += self.division.eq(self.data[:64])
            with m.Else():
                for first in range(0, config.vector_lanes, per_line):
                    count = min(per_line, config.vector_lanes - first)
                    with m.If(request_now.position == first // per_line):
                        m.d.sync += [records[first + i].eq(self.data[64 * i:64 * (i + 1)]) for i in range(count)]

        words_per_half = config.word_bytes // 4
        half = Signal(8 * config.word_bytes)
        m.d.comb += [
            half.eq(self.data.word_select(request_now.half, 8 * config.word_bytes)),
            self.table_write.eq(arriving & request_now.table),
            self.table_word.eq(request_now.position),
        ]
        if words_per_half == 1:
            m.d.comb += self.table_data.eq(half)
        else:
            m.d.comb += self.table_data.eq(half.word_select(
                request_now.position[:(words_per_half - 1).bit_length()], 32))
        return m
