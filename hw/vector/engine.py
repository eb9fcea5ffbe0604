"""The vector engine: sequencing of instructions, and the wiring of its parts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..interfaces import (PC_BITS, AccumulatorRead, InstructionStream, RescaleRead, ScratchpadRead, ScratchpadWrite,
                          ThreadState, ThreadStatus, TokenSignal, TokenWait)
from .issue import Issue
from .job import Decoder, Element, Kind, job_layout
from .operands import Operands
from .ports import SharedRead, Writer
from .prepare import Preparer
from .reduce import LaneSum
from .requantize import Requantizer
from .row_unit import RowUnit
from .softmax import Softmax
from .state import RowState
from .statistics import RowSums

__all__ = ["VectorEngine"]


class VectorEngine(wiring.Component):
    """Executes VECTOR_SYNC, REQUANT, STATS, NORM, SOFTMAX and TABLE, one after the other.

    ``vector_lanes`` channels of one row a cycle (of a norm every other cycle: both its products go through the one
    multiplier of a lane), as long as reads are granted: the front issues reads, and from an accepted read on everything
    flows without back-pressure. Exponentials are made ``softmax_lanes`` a cycle, and products with the element (squares
    for STATS, the norm's with its features, ``multiply``) ``norm_lanes`` a cycle. Records of the next channels are fetched while
    the current ones run. Between instructions the pipeline empties, about 15 cycles, and fills, about 10.

    ``multiply`` takes two scratchpad operands: a source of type ACC is multiplied by its low 16 bits only.

    Parameters
    ----------
    config : Config

    Members
    -------
    instructions : In(InstructionStream())
    accumulators : Out(AccumulatorRead(config)); read_a, read_b : Out(ScratchpadRead(config))
        Source (and, where the source is an accumulator, records and tables); second operand, mask (and records).
    write : Out(ScratchpadWrite(config))
        Must always be ready.
    rescale : In(RescaleRead(config))
        For the tensor engine.
    src_wait, dst_wait : Out(TokenWait()); src_signal, dst_signal : Out(TokenSignal())
        VECTOR_SYNC uses those of the source.
    status : Out(ThreadStatus())
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()),
            "accumulators": Out(AccumulatorRead(config)),
            "read_a": Out(ScratchpadRead(config)), "read_b": Out(ScratchpadRead(config)),
            "write": Out(ScratchpadWrite(config)), "rescale": In(RescaleRead(config)),
            "src_wait": Out(TokenWait()), "dst_wait": Out(TokenWait()),
            "src_signal": Out(TokenSignal()), "dst_signal": Out(TokenSignal()),
            "status": Out(ThreadStatus()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.vector_lanes
        m.submodules.decoder = decoder = Decoder(config)
        m.submodules.preparer = preparer = Preparer(config)
        m.submodules.issue = issue = Issue(config)
        m.submodules.operands = operands = Operands(config)
        m.submodules.requantizer = requantizer = Requantizer(config)
        m.submodules.sum_tree = sum_tree = LaneSum(lanes, 17)
        m.submodules.softmax = softmax = Softmax(config, sum_tree.latency)
        m.submodules.row_sums = row_sums = RowSums(lanes, sum_tree.latency)
        m.submodules.row_unit = row_unit = RowUnit(config.state_rows, config.division_units)
        m.submodules.row_state = state = RowState(config)
        m.submodules.shared_b = shared_b = SharedRead(config)
        m.submodules.writer = writer = Writer(config)

        # The job, and where its parts get it from.
        job = Signal(job_layout(config))
        pc = Signal(PC_BITS)
        start, loaded, idle = Signal(), Signal(), Signal()
        loops, is_softmax, is_stats = Signal(), Signal(), Signal()
        m.d.comb += [
            decoder.word.eq(self.instructions.payload.word), self.instructions.ready.eq(idle),
            start.eq(idle & self.instructions.valid),
            loops.eq((job.kind != Kind.SYNC) & (job.kind != Kind.TABLE)),
        ]
        # What chooses between many wires is a register: nothing comes of a job in its first cycle.
        m.d.sync += [loaded.eq(start), is_softmax.eq(job.kind == Kind.SOFTMAX), is_stats.eq(job.kind == Kind.STATS)]
        with m.If(start):
            m.d.sync += [job.eq(decoder.job), pc.eq(self.instructions.payload.pc)]
        for part in preparer, issue, operands, requantizer, softmax:
            m.d.comb += part.job.eq(job)
        m.d.comb += [
            preparer.start.eq(loaded), issue.start.eq(loaded & loops), softmax.start.eq(loaded & (job.kind == Kind.SOFTMAX)),
            writer.load.eq(loaded), row_unit.load.eq(loaded),
        ]

        # Reads. Port a is the source's, or, where that does not come from the scratchpad, the records'.
        records_on_a, data_on_a, asks_on_a = Signal(), Signal(), Signal()
        records, source, port_a = preparer.read, issue.source_read, self.read_a
        m.d.sync += [
            records_on_a.eq((job.src_type == Element.ACC) | (job.kind == Kind.TABLE)), data_on_a.eq(records_on_a),
            # As `records.valid`: the port's answer, which comes late, meets one register.
            asks_on_a.eq(records_on_a & preparer.reads_on & ~(records.ready & preparer.last_read)),
        ]
        m.d.comb += [
            port_a.valid.eq(asks_on_a | (~records_on_a & source.valid)),
            port_a.line.eq(Mux(records_on_a, records.line, source.line)),
            source.ready.eq(port_a.ready), source.data.eq(port_a.data),
            shared_b.first.valid.eq(records.valid & ~records_on_a), shared_b.first.line.eq(records.line),
            shared_b.first_goes_on.eq(preparer.reads_on & ~records_on_a), shared_b.first_is_last.eq(preparer.last_read),
            records.ready.eq((asks_on_a & port_a.ready) | shared_b.first.ready),
            records.data.eq(Mux(data_on_a, port_a.data, shared_b.first.data)),
            operands.accumulator_data.eq(issue.accumulators.data), operands.source_data.eq(source.data),
            operands.second_data.eq(issue.second_read.data),
        ]
        connect(m, issue.second_read, shared_b.second)
        connect(m, shared_b.port, flipped(self.read_b))
        connect(m, issue.accumulators, flipped(self.accumulators))
        connect(m, preparer.src_wait, flipped(self.src_wait))
        connect(m, preparer.dst_wait, flipped(self.dst_wait))

        # From issue to the lanes.
        m.d.comb += [
            issue.prepared.eq(preparer.prepared), issue.prepared_next.eq(preparer.prepared_next),
            preparer.take.eq(issue.take), preparer.release.eq(requantizer.release),
            issue.item_freed.eq(softmax.item_freed), issue.row_freed.eq(softmax.row_freed),
            issue.row_end_freed.eq(row_unit.norm_write.enable),
            operands.issued.eq(issue.issued), operands.item_accepted.eq(issue.item_valid), operands.item.eq(issue.item),
            requantizer.load_source.eq(operands.load_source), requantizer.source.eq(operands.source),
            requantizer.load_second.eq(operands.load_second), requantizer.second.eq(operands.second),
            requantizer.multiplying.eq(operands.multiplying), requantizer.part.eq(operands.part), issue.odd.eq(operands.odd),
            requantizer.launch.eq(operands.launch), requantizer.launched.eq(operands.launched),
            requantizer.arrives.eq(operands.arrives), requantizer.arriving_row.eq(operands.arriving_row),
            requantizer.records.eq(preparer.records), requantizer.table_write.eq(preparer.table_write),
            requantizer.table_word.eq(preparer.table_word), requantizer.table_data.eq(preparer.table_data),
        ]
        connect(m, issue.source, operands.source_accepted)
        connect(m, issue.second, operands.second_accepted)

        # Softmax and statistics; they share the tree of sums.
        m.d.comb += [
            softmax.score_valid.eq(requantizer.done & is_softmax), softmax.first.eq(requantizer.done_item.first),
            softmax.last.eq(requantizer.done_item.last), softmax.scores.eq(requantizer.scores),
            softmax.visible.eq(requantizer.visible), softmax.total.eq(sum_tree.total),
            row_sums.total.eq(sum_tree.total), row_sums.valid.eq(requantizer.product_valid),
            row_sums.first.eq(requantizer.product_first), row_sums.last.eq(requantizer.product_last),
            row_sums.squares.eq(requantizer.products),
            sum_tree.valid.eq(Mux(is_softmax, softmax.exponential_valid, operands.launch & is_stats)),
        ]
        for lane in range(lanes):
            # Spread over the lanes, since synthesis joins the adders of those that have none to one of many levels.
            exponential = 0 if lane % config.exponential_parts else softmax.exponentials[lane // config.exponential_parts]
            m.d.comb += sum_tree.values[lane].eq(Mux(is_softmax, exponential, requantizer.elements[lane]))

        # The row unit: reciprocal roots as the rows' sums come, reciprocals behind the last block's sums.
        divided_rows = Signal(13)
        wants_division = Signal()
        m.d.comb += [
            wants_division.eq(is_softmax & job.last & (divided_rows != softmax.rows_done) & ~loaded),
            row_unit.first_row.eq(job.state_base), row_unit.root.eq(row_sums.finished),
            row_unit.row_sum.eq(row_sums.row_sum), row_unit.row_squares.eq(row_sums.row_squares),
            row_unit.features.eq(job.features), row_unit.rms.eq(job.rms), row_unit.eps.eq(job.eps),
            row_unit.divide.eq(row_unit.ready & wants_division & ~softmax.sum_read.enable),
            row_unit.row_total.eq(state.sum_read.value), row_unit.mult.eq(preparer.division_mult),
            row_unit.shift.eq(preparer.division_shift),
            state.sum_read.enable.eq(softmax.sum_read.enable | row_unit.divide),
            state.sum_read.row.eq(Mux(softmax.sum_read.enable, softmax.sum_read.row, job.state_base + divided_rows)),
            softmax.sum_read.value.eq(state.sum_read.value),
        ]
        with m.If(loaded):
            m.d.sync += divided_rows.eq(0)
        with m.Elif(row_unit.divide):
            m.d.sync += divided_rows.eq(divided_rows + 1)
        connect(m, softmax.maximum_read, state.maximum_read)
        connect(m, softmax.maximum_write, state.maximum_write)
        connect(m, softmax.sum_write, state.sum_write)
        connect(m, softmax.rescale_write, state.rescale_write)
        connect(m, row_unit.norm_write, state.norm_write)
        connect(m, row_unit.division_write, state.division_write)
        connect(m, requantizer.norm_read, state.norm_read)
        connect(m, requantizer.division_read, state.division_read)
        connect(m, flipped(self.rescale), state.rescale)

        # Results. Whether there are some enables wide registers, and so comes from one.
        m.d.sync += writer.valid.eq(Mux(is_softmax, softmax.done_next, requantizer.done_next))
        m.d.comb += [
            writer.base.eq(job.dst_base), writer.inner.eq(job.dst_inner), writer.outer.eq(job.dst_outer),
            writer.element.eq(job.dst_type),
            writer.group.eq(Mux(is_softmax, softmax.group, requantizer.done_item.group)),
            writer.step.eq(Mux(is_softmax, softmax.step, requantizer.done_item.step)),
        ]
        for lane in range(lanes):
            m.d.comb += writer.values[lane].eq(
                Mux(is_softmax, softmax.probabilities[lane], requantizer.results[lane]))
        connect(m, writer.write, flipped(self.write))

        self._sequence(m, job, start, idle, loaded, is_softmax, pc, divided_rows)
        return m

    def _sequence(self, m, job, start, idle, loaded, is_softmax, pc, divided_rows):
        """States of an instruction, tokens due, status."""
        preparer, issue, softmax = m.submodules.preparer, m.submodules.issue, m.submodules.softmax
        operands, requantizer, row_unit = m.submodules.operands, m.submodules.requantizer, m.submodules.row_unit
        row_sums, writer = m.submodules.row_sums, m.submodules.writer

        rows_divided = Signal()     # all of a SOFTMAX's: compared as the last one starts
        with m.If(loaded):
            m.d.sync += rows_divided.eq(0)
        with m.Elif(row_unit.divide & (divided_rows == softmax.last_row)):
            m.d.sync += rows_divided.eq(1)

        complete = Signal()
        m.d.comb += complete.eq(
            preparer.finished & ~issue.running & ~operands.busy & ~requantizer.busy & ~row_sums.busy & row_unit.idle
            & (~is_softmax | (softmax.finished & (~job.last | rows_divided))))
        # A SOFTMAX gives its destination's tokens before its divisions are done: only this engine reads those.
        given, gives = Signal(), Signal()
        m.d.comb += gives.eq(is_softmax & softmax.finished & ~idle & ~given & ~loaded)
        with m.If(loaded):
            m.d.sync += given.eq(0)
        with m.Elif(gives):
            m.d.sync += given.eq(1)

        prepared_all = Signal()     # all that there is to do
        m.d.comb += [self.src_signal.id.eq(job.src_signal), self.dst_signal.id.eq(job.dst_signal)]
        src_gives, dst_by_panels, only_prepares = Signal(), Signal(), Signal()
        m.d.sync += [src_gives.eq(job.src_signals != 0), dst_by_panels.eq(is_softmax & job.dst_signal_each),
                     only_prepares.eq((job.kind == Kind.SYNC) | (job.kind == Kind.TABLE))]
        all_given = self._give(m, self.src_signal, src_gives & (prepared_all | (operands.launch & operands.launched.src_done)),
                               job.src_signals - 1)
        all_given &= self._give(m, self.dst_signal, gives | (requantizer.done & requantizer.done_item.dst_done),
                                Mux(dst_by_panels, writer.more_panels, 0))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(start):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += prepared_all.eq(preparer.finished & only_prepares & ~loaded)
                with m.If(complete & ~loaded):
                    m.next = "TOKENS"
            with m.State("TOKENS"):
                with m.If(all_given):
                    m.next = "IDLE"

        m.d.comb += [self.status.idle.eq(idle), self.status.pc.eq(pc), self.status.semaphore.eq(preparer.semaphore)]
        with m.If(idle):
            m.d.comb += self.status.state.eq(ThreadState.IDLE)
        with m.Elif(preparer.waiting & (issue.starved | ~issue.running)):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_TOKEN)
        with m.Elif(issue.stalled):
            m.d.comb += self.status.state.eq(ThreadState.WAIT_MEMORY)
        with m.Elif(preparer.finished & ~issue.running):
            m.d.comb += self.status.state.eq(ThreadState.DRAIN)
        with m.Else():
            m.d.comb += self.status.state.eq(ThreadState.BUSY)

    @staticmethod
    def _give(m, signal, adds, others):
        """Gives tokens, one in each cycle; `adds` makes one more due, and `others`, of which there are none while any is left: an
        instruction that has others adds once. Returns whether none is left behind this cycle's.

        This cycle's is counted apart: it comes from a register, and `adds`, which comes late, is added to nothing.
        """
        left = Signal(13)
        some = left != 0
        m.d.sync += [signal.valid.eq(some | adds), left.eq(Mux(some, left - 1, Mux(adds, others, 0)))]
        return ~some
