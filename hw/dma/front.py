"""The memory side of a transfer: the front end that the load and the store engine share.

It takes instructions, waits for their tokens, and turns their loops into segments of memory; the scratchpad side gets a
copy of the loops as a job and walks them on its own, so that addresses run ahead of data.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..decoding import is_instruction
from ..interfaces import InstructionStream, PC_BITS, TokenWait, instruction_layout
from .axi import RELATIVE_BITS
from .lines import JobKind, beat_address_bits, job_layout
from .splitter import BEATS_BITS, SEGMENT

__all__ = ["IndexRead", "DmaFrontEnd"]

_FIELDS = isa.INSTRUCTIONS["LOAD"].fields
_COUNT_BITS = _FIELDS["inner_count"].width
#: Bits of a stride that are compared together.
_DIGIT_BITS = 4


def IndexRead(config):
    """Reads the index memory: ``row`` (signed) follows ``entry`` by one cycle; ``ready``: every INDEX is complete."""
    return wiring.Signature({"entry": Out((config.index_entries - 1).bit_length()), "row": In(32), "ready": In(1)})


def _beats(config, words, width):
    """``words`` scratchpad words in beats, as a value of ``width`` bits."""
    if config.word_bytes >= config.data_bytes:
        return (words << (config.word_bytes // config.data_bytes - 1).bit_length())[:width]
    return words[(config.data_bytes // config.word_bytes - 1).bit_length():][:width]


class DmaFrontEnd(wiring.Component):
    """LOAD or STORE and its SYNC; with ``gather`` also INDEX and GATHER.

    Ports: ``i`` instructions; ``wait`` tokens; ``segments`` stream of `SEGMENT`; ``jobs`` stream of `job_layout`; ``released``:
    the next outer iteration may touch the scratchpad; ``index`` (with ``gather``); ``idle``, ``pc``, ``waiting`` for
    a token, of counter ``wait.id``.

    Without ``gather``, a SYNC becomes a segment without memory, so that its tokens follow the write responses before it;
    with it, a job without beats, so that they follow the writes to the scratchpad.

    Three cycles for an instruction, one for a segment (six for a gathered row) and two for each token waited for but an
    iteration's. Runs of an iteration that follow each other in memory become one segment.
    """

    def __init__(self, config, *, gather):
        self.config, self.gather = config, gather
        members = {
            "i": In(InstructionStream()), "wait": Out(TokenWait()),
            "segments": Out(stream.Signature(SEGMENT)), "jobs": Out(stream.Signature(job_layout(config))),
            "released": Out(1), "idle": Out(1), "pc": Out(PC_BITS), "waiting": Out(1),
        }
        if gather:
            members["index"] = Out(IndexRead(config))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config, gather = self.config, self.gather
        prefix = "LOAD" if gather else "STORE"
        beat_shift = (config.data_bytes - 1).bit_length()
        word_shift = (config.word_bytes - 1).bit_length()
        address_bits = beat_address_bits(config)

        def view(mnemonic, word):
            return data.View(instruction_layout(mnemonic), word)

        def beat_address(words):
            return _beats(config, words, address_bits)

        word = Signal(isa.INSTRUCTION_BITS, reset_less=True)
        move, sync = view(prefix, word), view(prefix + "_SYNC", word)

        def executes(mnemonic, word):
            return is_instruction(word[:isa.OPCODE_BITS], mnemonic)

        is_index, is_gather = Signal(), Signal()

        # What the loops need, in the same registers for every instruction.
        outer_address = Signal(RELATIVE_BITS, reset_less=True)
        run_address = Signal(RELATIVE_BITS, reset_less=True)
        run_words = Signal(_FIELDS["run_words"].width, reset_less=True)
        inner_count = Signal(_COUNT_BITS, reset_less=True)
        outer_left = Signal(_COUNT_BITS, reset_less=True)
        run_beats = Signal(BEATS_BITS, reset_less=True)
        segment_beats = Signal(BEATS_BITS, reset_less=True)
        merged = Signal()
        total = Signal(_FIELDS["run_words"].width + _COUNT_BITS, reset_less=True)       # words of all runs
        # What it comes from: the digits in which the runs' stride is their length, and a single run.
        adjacent = Signal(-(-_FIELDS["inner_dram_stride"].width // _DIGIT_BITS), reset_less=True)
        single_run = Signal(reset_less=True)
        inner_left = Signal(_COUNT_BITS, reset_less=True)
        ring_offset = Signal(_FIELDS["spm_addr"].width + _FIELDS["ring_slots"].width, reset_less=True)
        tokens_left = Signal(isa.TOKEN_BITS, reset_less=True)
        all_taken = Signal(reset_less=True)     # none is left, known with their number
        semaphore = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        needs_token = Signal()      # the next iteration does
        # Counter waited for, straight from a register, and whether each iteration waits.
        wait = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        wait_each = Signal(reset_less=True)

        m.d.comb += [
            self.idle.eq(0),
            self.wait.id.eq(wait),
            self.segments.payload.address.eq(run_address),
            self.segments.payload.beats.eq(segment_beats),
            self.segments.payload.count.eq(1),
            self.segments.payload.pc.eq(self.pc),
        ]
        job = self.jobs.payload
        ring_left = (move.ring_slots - move.ring_start - 1)[:len(job.ring_left)]
        m.d.comb += [
            job.kind.eq(JobKind.LINES),
            job.base.eq(beat_address(move.spm_addr)),
            job.start.eq(beat_address((move.spm_addr + Mux(move.ring_slots != 0, ring_offset, 0))[:_FIELDS["spm_addr"].width])),
            job.run_beats.eq(run_beats),
            job.inner_count.eq(inner_count),
            job.inner_stride.eq(beat_address(move.inner_spm_stride)),
            job.outer_count.eq(outer_left),
            job.outer_stride.eq(beat_address(move.outer_spm_stride)),
            job.ring_slots.eq(move.ring_slots),
            job.ring_left.eq(ring_left),
            job.wraps.eq((ring_left == 0) & (move.ring_slots != 0)),
            job.semaphore.eq(semaphore),
            job.each.eq(move.signal_each),
            job.count.eq(1),
            job.pc.eq(self.pc),
        ]

        # An iteration starts with its token, if it has one. Tokens are taken by registers that say the same as the state.
        in_job, in_iteration, in_sync_wait = Signal(), Signal(), Signal()
        iterates, granted, asks = Signal(), Signal(), Signal()
        m.d.comb += [
            iterates.eq(in_iteration | (in_job & self.jobs.ready)),
            granted.eq(~needs_token | self.wait.available),             # counter 0 always has one
            asks.eq((iterates & needs_token) | (in_sync_wait & ~all_taken)),
            self.wait.consume.eq(asks & self.wait.available), self.waiting.eq(asks & ~self.wait.available),
            self.released.eq(iterates & granted),
        ]

        def go(state):
            m.d.sync += [in_job.eq(state == "Job"), in_iteration.eq(state == "Iteration"), in_sync_wait.eq(state == "SyncWait")]
            m.next = state

        # Last segment of an iteration: its mark carries the token.
        ends_iteration = inner_left == 1
        signals = ends_iteration & (move.signal_each | (outer_left == 1))

        if gather:
            row, index = view("GATHER", word), view("INDEX", word)

        def iterate():
            """An iteration begins, if it need not wait."""
            m.d.sync += [inner_left.eq(Mux(merged, 1, inner_count)), run_address.eq(outer_address)]
            with m.If(granted):
                m.d.sync += needs_token.eq(wait_each)
                go("Segment")
                if gather:
                    with m.If(is_gather):
                        go("Entry")

        with m.FSM():
            with m.State("Idle"):
                arriving = self.i.payload.word
                first, first_sync = view(prefix, arriving), view(prefix + "_SYNC", arriving)
                gap = first.inner_dram_stride ^ (first.run_words << word_shift)
                m.d.comb += [self.idle.eq(1), self.i.ready.eq(1)]
                with m.If(self.i.valid):
                    m.d.sync += [
                        word.eq(arriving), self.pc.eq(self.i.payload.pc), needs_token.eq(1),
                        outer_address.eq(first.dram_addr),
                        run_words.eq(first.run_words),
                        inner_count.eq(first.inner_count),
                        outer_left.eq(first.outer_count),
                        semaphore.eq(first.signal),
                        adjacent.eq(Cat(gap[_DIGIT_BITS * n:_DIGIT_BITS * (n + 1)] == 0 for n in range(len(adjacent)))),
                        single_run.eq(first.inner_count == 1),
                        tokens_left.eq(first_sync.wait_count), wait.eq(first.wait), wait_each.eq(first.wait_each),
                        all_taken.eq((first_sync.wait_count == 0) | (first_sync.wait == 0)),
                    ]
                    if gather:
                        m.d.sync += [is_index.eq(executes("INDEX", arriving)), is_gather.eq(executes("GATHER", arriving))]
                        first_row = view("GATHER", arriving)
                        with m.If(executes("GATHER", arriving)):
                            m.d.sync += [run_words.eq(first_row.run_words), inner_count.eq(first_row.count),
                                         outer_left.eq(1), semaphore.eq(first_row.signal), wait.eq(first_row.wait), wait_each.eq(0)]
                        with m.If(executes("INDEX", arriving)):
                            m.d.sync += [inner_count.eq(1), outer_left.eq(1), semaphore.eq(0),
                                         wait.eq(view("INDEX", arriving).wait), wait_each.eq(0)]
                    go("Prepare")
                    with m.If(executes(prefix + "_SYNC", arriving)):
                        m.d.sync += wait.eq(first_sync.wait)
                        go("Sync")
            with m.State("Prepare"):
                beats = _beats(config, run_words, BEATS_BITS)
                merges = (adjacent.all() | single_run) & ~is_gather & ~is_index
                m.d.sync += [
                    ring_offset.eq(move.ring_start * move.outer_spm_stride), total.eq(run_words * inner_count),
                    run_beats.eq(beats), merged.eq(merges),
                ]
                if gather:
                    with m.If(is_index):
                        m.d.sync += run_beats.eq((4 * index.count + config.data_bytes - 1) >> beat_shift)
                go("Job")
            with m.State("Job"):
                m.d.comb += self.jobs.valid.eq(1)
                m.d.sync += segment_beats.eq(Mux(merged, _beats(config, total, BEATS_BITS), run_beats))
                if gather:
                    with m.If(is_gather):
                        m.d.comb += [
                            job.base.eq(beat_address(row.spm_addr)), job.start.eq(beat_address(row.spm_addr)),
                            job.inner_stride.eq(beat_address(row.spm_stride)), job.outer_stride.eq(0),
                            job.ring_slots.eq(0), job.wraps.eq(0), job.each.eq(0),
                        ]
                    with m.If(is_index):
                        m.d.comb += [job.kind.eq(JobKind.INDEX), job.start.eq(0), job.ring_slots.eq(0), job.wraps.eq(0),
                                     job.each.eq(0)]
                with m.If(self.jobs.ready):
                    go("Iteration")
                    iterate()
            with m.State("Iteration"):
                iterate()
            with m.State("Segment"):
                m.d.comb += [
                    self.segments.valid.eq(1),
                    self.segments.payload.semaphore.eq(Mux(signals, semaphore, 0)),
                ]
                with m.If(self.segments.ready):
                    m.d.sync += [inner_left.eq(inner_left - 1), run_address.eq(run_address + move.inner_dram_stride)]
                    with m.If(ends_iteration):
                        m.d.sync += [outer_left.eq(outer_left - 1),
                                     outer_address.eq(outer_address + move.outer_dram_stride)]
                        go("Iteration")
                        with m.If(outer_left == 1):
                            go("Idle")

            # SYNC: a token in every second cycle, then the signal takes its place behind the data before it.
            with m.State("Sync"):       # the counter is asked for the first time
                go("SyncWait")
            with m.State("SyncWait"):
                with m.If(all_taken):
                    go("SyncSignal")
                with m.Else():
                    with m.If(self.wait.available):
                        m.d.sync += [tokens_left.eq(tokens_left - 1), all_taken.eq(tokens_left == 1)]
            with m.State("SyncSignal"):
                if gather:
                    m.d.comb += [
                        self.jobs.valid.eq(1), job.kind.eq(JobKind.SYNC), job.semaphore.eq(sync.signal),
                        job.count.eq(sync.signal_count), job.run_beats.eq(1), job.inner_count.eq(1),
                        job.outer_count.eq(1), job.each.eq(0),
                    ]
                    follows = self.jobs.ready
                else:
                    m.d.comb += [
                        self.segments.valid.eq(1), self.segments.payload.sync.eq(1),
                        self.segments.payload.semaphore.eq(sync.signal),
                        self.segments.payload.count.eq(sync.signal_count),
                    ]
                    follows = self.segments.ready
                with m.If(follows):
                    go("Idle")

            if gather:
                # GATHER: the number is multiplied half by half, a cycle each for a half, its products by the two halves of the
                # stride, their sum, and the address; the next entry is read beside them.
                half, split = len(self.index.row) // 2, len(row.dram_stride) // 2
                entry = Signal(len(self.index.entry), reset_less=True)
                digits = Signal(signed(half + 1), reset_less=True)
                upper = Signal(signed(half), reset_less=True)
                low_product = Signal(signed(half + 1 + split), reset_less=True)
                high_product = Signal(RELATIVE_BITS - split, reset_less=True)
                product = Signal(RELATIVE_BITS, reset_less=True)
                multiply = [low_product.eq(digits * row.dram_stride[:split]), high_product.eq(digits * row.dram_stride[split:])]
                products = low_product + (high_product << split)
                m.d.comb += self.index.entry.eq(entry)
                with m.State("Entry"):
                    m.d.sync += entry.eq(row.first)
                    with m.If(self.index.ready):
                        go("Read")
                with m.State("Read"):
                    go("Row")
                with m.State("Row"):
                    m.d.sync += [digits.eq(self.index.row[:half]), upper.eq(self.index.row[half:])]
                    go("LowerHalf")
                with m.State("LowerHalf"):
                    m.d.sync += [*multiply, digits.eq(upper), entry.eq(entry + 1)]
                    go("UpperHalf")
                with m.State("UpperHalf"):
                    m.d.sync += [*multiply, product.eq(products)]
                    go("LowerSum")
                with m.State("LowerSum"):
                    m.d.sync += [run_address.eq(outer_address + product), product.eq(products << half)]
                    go("UpperSum")
                with m.State("UpperSum"):
                    m.d.sync += run_address.eq(run_address + product)
                    go("RowSegment")
                with m.State("RowSegment"):
                    m.d.comb += self.segments.valid.eq(1)
                    with m.If(self.segments.ready):
                        m.d.sync += inner_left.eq(inner_left - 1)
                        go("Row")
                        with m.If(ends_iteration):
                            go("Idle")
        return m
