"""One-pass softmax: running maxima, exponentials and sums of rows."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..memory.wrapper import OnChipMemory
from ..streams import Queue
from .exponential import ExponentialLane
from .job import Step, job_layout
from .loops import GroupCounter
from .reduce import LaneMaximum
from .state import MAXIMUM, SUM, StateRead, StateWrite

__all__ = ["Softmax", "EMPTY", "ROWS"]

#: Running maximum of a row that has not seen a visible key.
EMPTY = -2048
#: Rows on their way from the first score to the last exponential.
ROWS = 8
# Stage of the exponential lanes that the sums take, and of the probabilities.
_EXPONENTIAL, _PROBABILITY = 3, 4

#: A row's maximum, and by how much its earlier probabilities are too large: ``rescale`` of it. What the maximum was, less what it
#: is, is ``fall`` above a multiple of 32, -32 unless it is ``far`` below.
_Decision = data.StructLayout({"maximum": MAXIMUM, "rises": 1, "far": 1, "fall": 5})


def _rescale(decision):
    """By how much the row's maximum rises, 32 if by more; 0 if there was none."""
    near = ~decision.far & decision.fall.any()
    return Mux(decision.rises, Cat(Mux(near, -decision.fall, 0)[:5], ~near), 0)


class Softmax(wiring.Component):
    """From the scores of a key block, group by group, row by row, to probabilities and the rows' state.

    Scores wait in a ring until their row's maximum is known; meanwhile the next rows' scores arrive. One group of
    ``vector_lanes`` a cycle in; out of the ring a group takes ``vector_lanes / softmax_lanes`` cycles, as many parts.
    `Issue` counts the room: an item takes one place of the ring when it is issued and a row one of ``ROWS`` places.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(job_layout(config))
    start : In(1)
        A SOFTMAX has been loaded, ``job`` is valid.
    item_freed, row_freed : Out(1)
        An item leaves the ring, a row the row queue.
    score_valid, first, last : In(1); scores, visible : In
        A group of scores, the first or last of its row.
    maximum_read, maximum_write, sum_read, sum_write, rescale_write
        State of the rows.
    done_next : Out(1); probabilities : Out(ArrayLayout(8, lanes)); group, step : Out
        In the next cycle there are probabilities for the scratchpad: group within the panel, and how the destination goes on.
    exponential_valid : Out(1); exponentials : Out(ArrayLayout(16, softmax_lanes)); total : In
        A part's to the tree of sums and back, ``sum_latency`` cycles later.
    rows_done : Out(13); finished : Out(1)
        Rows whose state has been written, and whether these are all.
    last_row : Out(12)
        Number of the job's last row, from a register.
    """

    def __init__(self, config, sum_latency):
        self.config = config
        self.sum_latency = sum_latency
        lanes, rows = config.vector_lanes, config.state_rows
        super().__init__({
            "job": In(job_layout(config)), "start": In(1),
            "item_freed": Out(1), "row_freed": Out(1),
            "score_valid": In(1), "first": In(1), "last": In(1),
            "scores": In(data.ArrayLayout(signed(16), lanes)), "visible": In(lanes),
            "maximum_read": Out(StateRead(rows, MAXIMUM)), "maximum_write": Out(StateWrite(rows, MAXIMUM)),
            "sum_read": Out(StateRead(rows, SUM)), "sum_write": Out(StateWrite(rows, SUM)),
            "rescale_write": Out(StateWrite(rows, 6)),
            "done_next": Out(1), "probabilities": Out(data.ArrayLayout(8, lanes)),
            "group": Out(range(config.panel // lanes)), "step": Out(Step),
            "exponential_valid": Out(1), "exponentials": Out(data.ArrayLayout(16, config.softmax_lanes)),
            "total": In(signed(17 + (lanes - 1).bit_length())),
            "rows_done": Out(13), "finished": Out(1), "last_row": Out(12),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.vector_lanes

        # The ring of scores: 17 bits for each, the upper one says that it counts.
        depth = config.softmax_ring
        m.submodules.ring = ring = OnChipMemory(17 * lanes, depth)
        write_place, read_place = Signal(range(depth)), Signal(range(depth))
        pop = self.item_freed
        m.d.comb += [
            ring.write_enable.eq(self.score_valid), ring.write_address.eq(write_place), ring.write_mask.eq(1),
            ring.write_data.eq(Cat(Cat(self.scores[lane], self.visible[lane]) for lane in range(lanes))),
            ring.read_enable.eq(pop), ring.read_address.eq(read_place),
        ]
        with m.If(self.score_valid):
            m.d.sync += write_place.eq(write_place + 1)
        with m.If(pop):
            m.d.sync += read_place.eq(read_place + 1)

        m.submodules.rows = rows = Queue(_Decision, ROWS)
        self._maxima(m, rows)
        self._exponentials(m, rows, ring, pop)
        return m

    def _maxima(self, m, rows):
        """Maximum of each row, with the state's; the result goes to the queue ``rows``."""
        config, job = self.config, self.job
        lanes = config.vector_lanes
        # In whole units, rounded up, which may as well be done behind the choice: a bit says whether there is something below
        # the unit. Unsigned order, from -1024 up.
        m.submodules.tree = tree = LaneMaximum(lanes, 12)
        m.d.comb += [tree.valid.eq(self.score_valid), tree.counts.eq(self.visible)]
        for lane in range(lanes):
            score = self.scores[lane]
            m.d.comb += tree.values[lane].eq(Cat(score[:5].any(), score[5:15], ~score[15]))
        flags = Cat(self.score_valid, self.first, self.last)
        for stage in range(tree.latency):
            after = Signal(3, name=f"flags_{stage}")
            m.d.sync += after.eq(flags)
            before_flags, flags = flags, after
        valid, first, last = flags
        # The state's maximum is read while the tree takes its last step.
        row_ends = before_flags[0] & before_flags[2]

        # The tree's last level, and the row's groups so far.
        best = Signal(12, reset_less=True)
        some = Signal(reset_less=True)
        one, other = tree.left[0], tree.left[1]
        with m.If(valid):
            m.d.sync += [
                best.eq(Mux(one > other, Mux(first | (one > best), one, best), Mux(first | (other > best), other, best))),
                some.eq(tree.some | (some & ~first)),
            ]
        before = Signal(MAXIMUM, reset_less=True)       # the state's
        row = Signal(range(config.state_rows))
        written_row = Signal.like(row)
        ended, decided = Signal(), Signal()
        with m.If(self.start):
            m.d.sync += [row.eq(job.state_base), written_row.eq(job.state_base)]
        with m.Else():
            m.d.sync += [row.eq(row + row_ends), written_row.eq(written_row + decided)]
        m.d.comb += [self.maximum_read.enable.eq(row_ends), self.maximum_read.row.eq(row)]
        m.d.sync += [ended.eq(valid & last), decided.eq(ended)]
        with m.If(valid & last):
            m.d.sync += before.eq(Mux(job.first, EMPTY, self.maximum_read.value))

        # `before` less the ceiling, in one adder.
        floor = Cat(best[1:11], ~best[11]).as_signed()
        difference = Signal(signed(13))
        rises = Signal()
        decision = Signal(_Decision)
        written = Signal(_Decision, reset_less=True)
        m.d.comb += [
            difference.eq((Cat(~best[0], before).as_signed() + Cat(~best[0], ~floor).as_signed())[1:]),
            rises.eq(some & (difference < 0)),
            decision.maximum.eq(Mux(rises, floor + best[0], before)), decision.rises.eq(rises & (before != EMPTY)),
            decision.far.eq(~difference[5:].all()), decision.fall.eq(difference[:5]),
        ]
        with m.If(ended):
            m.d.sync += written.eq(decision)
        m.d.comb += [
            rows.i.valid.eq(ended), rows.i.payload.eq(decision),
            self.maximum_write.enable.eq(decided), self.maximum_write.row.eq(written_row),
            self.maximum_write.value.eq(written.maximum),
            self.rescale_write.enable.eq(decided), self.rescale_write.row.eq(written_row),
            self.rescale_write.value.eq(_rescale(written)),
        ]

    def _exponentials(self, m, rows, ring, pop):
        """Exponentials of the rows in the queue, their sums, and the new state."""
        config, job = self.config, self.job
        lanes = config.softmax_lanes
        parts = config.vector_lanes // lanes
        part = Signal(range(parts))
        first_part, last_part = part == 0, part == parts - 1
        m.submodules.groups = groups = GroupCounter(config)
        m.d.comb += [
            groups.tiles.eq(job.tiles), groups.restart.eq(self.start), groups.advance.eq(rows.o.valid & last_part),
            pop.eq(rows.o.valid & first_part), rows.o.ready.eq(groups.last & last_part),
            self.row_freed.eq(rows.o.valid & rows.o.ready),
        ]
        if parts > 1:
            with m.If(rows.o.valid):
                m.d.sync += part.eq(Mux(last_part, 0, part + 1))

        # Stage 0: scores and the row's maximum; further on what belongs to the part.
        carried = data.StructLayout({"part": range(parts), "first": 1, "last": 1, "group": groups.group.shape(),
                                     "panel_end": 1, "rescale": 6})
        stages = _EXPONENTIAL + 1 + max(self.sum_latency, _PROBABILITY - _EXPONENTIAL)
        valid = [Signal(name=f"exponential_valid_{k}") for k in range(stages)]
        item = [Signal(carried, name=f"exponential_item_{k}", reset_less=True) for k in range(stages)]
        maximum = Signal(MAXIMUM, reset_less=True)
        m.d.sync += valid[0].eq(rows.o.valid)
        with m.If(rows.o.valid):
            m.d.sync += [
                maximum.eq(rows.o.payload.maximum), item[0].part.eq(part),
                item[0].first.eq(groups.first & first_part), item[0].last.eq(rows.o.ready),
                item[0].group.eq(groups.group), item[0].panel_end.eq(groups.panel_end),
                item[0].rescale.eq(_rescale(rows.o.payload)),
            ]
        for k in range(1, stages):
            m.d.sync += valid[k].eq(valid[k - 1])
            with m.If(valid[k - 1]):
                m.d.sync += item[k].eq(item[k - 1])
        m.d.comb += self.exponential_valid.eq(valid[_EXPONENTIAL])
        scores = ring.read_data.word_select(item[0].part, 17 * lanes)
        computed = []       # probabilities of the part
        for number in range(lanes):
            m.submodules[f"lane_{number}"] = lane = ExponentialLane()
            score = scores[17 * number:17 * number + 17]
            computed.append(lane.probability)
            m.d.comb += [
                lane.enter.eq(Cat(Const(0, 1), valid[:_PROBABILITY])), lane.maximum.eq(maximum),
                lane.score.eq(score[:16]), lane.visible.eq(score[16]),
                self.exponentials[number].eq(lane.exponential),
            ]
        # Probabilities leave a whole group at a time: parts before the last one wait.
        written = item[_PROBABILITY]
        for number in range(parts - 1):
            waiting = [Signal(8, name=f"waiting_{number}_{lane}", reset_less=True) for lane in range(lanes)]
            with m.If(valid[_PROBABILITY] & (written.part == number)):
                m.d.sync += [register.eq(value) for register, value in zip(waiting, computed)]
            m.d.comb += [self.probabilities[number * lanes + lane].eq(waiting[lane]) for lane in range(lanes)]
        m.d.comb += [
            *(self.probabilities[(parts - 1) * lanes + lane].eq(computed[lane]) for lane in range(lanes)),
            self.done_next.eq(valid[_PROBABILITY - 1] & (item[_PROBABILITY - 1].part == parts - 1)),
            self.group.eq(written.group),
            self.step.eq(Mux(written.last, Step.OUTER, Mux(written.panel_end, Step.INNER, Step.STAY))),
        ]

        # Sum of the row. Its old sum is read two stages ahead, shifted by bytes in the next and by bits in the last of them, so
        # that both sums are there to be added behind it.
        stage = _EXPONENTIAL + self.sum_latency
        ready, of = valid[stage], item[stage]
        row_ends = [valid[k] & item[k].last for k in range(stages)]
        total = Signal(SUM - 6, reset_less=True)
        with m.If(ready):
            m.d.sync += total.eq(Mux(of.first, 0, total) + self.total.as_unsigned())
        row = Signal(range(config.state_rows))
        written_row = Signal.like(row)
        coarsely = Signal(SUM + 1, reset_less=True)     # with the bit that rounds
        finely = Signal(SUM + 1)
        old = Signal(SUM, reset_less=True)
        summed = Signal()
        m.d.comb += [
            # Where there is no old sum, divisions read the memory.
            self.sum_read.enable.eq(row_ends[stage - 2] & ~job.first), self.sum_read.row.eq(row),
            finely.eq(coarsely >> of.rescale[:3]),
            self.sum_write.enable.eq(summed), self.sum_write.row.eq(written_row), self.sum_write.value.eq(old + total),
        ]
        with m.If(row_ends[stage - 1]):
            m.d.sync += coarsely.eq(Cat(Const(0, 1), self.sum_read.value) >> Cat(Const(0, 3), item[stage - 1].rescale[3:5]))
        with m.If(row_ends[stage]):
            m.d.sync += old.eq(Mux(job.first | of.rescale[5], 0, finely[1:] + finely[0]))
        m.d.sync += [summed.eq(row_ends[stage]), self.last_row.eq(job.rows - 1)]
        with m.If(row_ends[stage - 2]):
            m.d.sync += row.eq(row + 1)
        with m.If(summed):
            m.d.sync += [written_row.eq(written_row + 1), self.rows_done.eq(self.rows_done + 1),
                         self.finished.eq(self.rows_done == self.last_row)]
        with m.If(self.start):
            m.d.sync += [row.eq(job.state_base), written_row.eq(job.state_base), self.rows_done.eq(0), self.finished.eq(0)]
