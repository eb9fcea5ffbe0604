"""Front of the row streamer: from instructions to the passes of moving rows over each tile."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..decoding import is_instruction
from ..interfaces import PC_BITS, InstructionStream, TokenSignal, TokenWait, instruction_layout
from ..memory.accumulators import Accumulators
from .panel_reader import panel_runs_layout
from .reader import run_layout
from .walker import TileWalker
from .weight_tiles import is_sparse, sub_shape

__all__ = ["RowTiles", "row_runs_layout", "row_tile_layout", "EARLY", "MOST_LINES"]

_FIELDS = isa.INSTRUCTIONS["MATMUL"].fields
#: Members of `row_tile_layout` that decide whether the issuer takes a row.
EARLY = "single", "odd", "overlaps", "repeats"
#: Lines that the rows of one pass touch at most.
MOST_LINES = (1 << _FIELDS["rows"].width) // 2 + 1


def row_runs_layout(config):
    """Lines that a pass reads: a run, or with `sparsity` one for each panel of a K tile."""
    return panel_runs_layout(config, MOST_LINES) if config.sparsity else run_layout(config, MOST_LINES)


def row_tile_layout(config):
    """One pass of the moving rows over a tile.

    rows
        Rows to stream.
    single
        It is one.
    odd
        The first row is the upper word of its line.
    k_sub
        Number of the K tile within its panel.
    is_unsigned
        Bytes are uint8.
    address
        Accumulator word of row 0.
    accumulate, rescale
        As in `ResultPort`.
    state
        State row of row 0, for ``rescale``.
    overlaps
        Adds to words of the pass before, but not to the same words in the same order, or may add to words of a pass before a
        short one: a word might come again before it is written.
    repeats
        Adds to the words of the pass before in the same order.
    a_token, acc_token
        Counters to add to when the last row has been streamed, and when its result is written.

    With `sparsity` also:

    format
        `isa.WeightFormat` of sparse weights; else INT8.
    panels
        Panels of the K tile that there are.
    odds
        Bit n: the first row of panel n is the upper word of its line; bit 0 is ``odd``.
    """
    sparse = {}
    if config.sparsity:
        sparse = {"format": isa.WEIGHT_FORMAT_BITS, "panels": range(config.sparse_panels + 1), "odds": config.sparse_panels}
    return data.StructLayout({
        "rows": _FIELDS["rows"].width, "single": 1, "odd": 1, "k_sub": sub_shape(config), "is_unsigned": 1,
        "address": _FIELDS["acc_base"].width, "accumulate": 1, "rescale": 1,
        "state": _FIELDS["state_base"].width, "overlaps": 1, "repeats": 1, "a_token": isa.SEMAPHORE_BITS,
        "acc_token": isa.SEMAPHORE_BITS, **sparse,
    })


class RowTiles(wiring.Component):
    """Walks the tiles of each instruction, one a cycle, and consumes ``a_wait`` and ``acc_wait``; executes TENSOR_SYNC.

    Parameters
    ----------
    config : Config

    Members
    -------
    instructions : In(InstructionStream())
    a_wait, acc_wait : Out(TokenWait())
        A TENSOR_SYNC waits through ``a_wait``.
    runs : Out(stream.Signature(row_runs_layout(config)))
    tiles : Out(stream.Signature(row_tile_layout(config)))
        Each run comes with its tile.
    drained : In(1)
        Everything in ``tiles`` has been streamed.
    at_sync : In(1)
        The weight loader has reached the TENSOR_SYNC.
    synced : Out(1)
        The TENSOR_SYNC has been executed.
    sync_signal : Out(TokenSignal())
    waiting : Out(1)
        For a token of ``semaphore``.
    semaphore : Out(isa.SEMAPHORE_BITS)
    busy : Out(1)
        Has an instruction.
    pc : Out(PC_BITS)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()), "a_wait": Out(TokenWait()), "acc_wait": Out(TokenWait()),
            "runs": Out(stream.Signature(row_runs_layout(config))),
            "tiles": Out(stream.Signature(row_tile_layout(config))),
            "drained": In(1), "at_sync": In(1), "synced": Out(1), "sync_signal": Out(TokenSignal()),
            "waiting": Out(1), "semaphore": Out(isa.SEMAPHORE_BITS), "busy": Out(1), "pc": Out(PC_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.walker = walker = TileWalker(self.config)

        matmul = Signal(instruction_layout("MATMUL"), reset_less=True)
        sync = data.View(instruction_layout("TENSOR_SYNC"), matmul.as_value())
        pc = Signal(PC_BITS, reset_less=True)
        waits = Signal(isa.TOKEN_BITS, reset_less=True)
        signals = Signal(isa.TOKEN_BITS, reset_less=True)
        takes, gives = Signal(reset_less=True), Signal(reset_less=True)     # some of both are left
        reached = Signal()      # the loader holds at the same TENSOR_SYNC, and nothing streams
        row_word = Signal(len(matmul.a_base), reset_less=True)
        acc_word = Signal(len(matmul.acc_base), reset_less=True)
        last, accumulate, granted = Signal(), Signal(), Signal()
        # What a tile asks of the counters is found a tile before.
        a_needed, acc_needed = Signal(reset_less=True), Signal(reset_less=True)
        tile, run = self.tiles.payload, self.runs.payload
        panel_stride, takes_more = matmul.a_panel_stride, None
        offered = self.instructions.payload
        offered_matmul = data.View(instruction_layout("MATMUL"), offered.word)
        offered_sync = data.View(instruction_layout("TENSOR_SYNC"), offered.word)
        a_wait = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        # Both tokens of one counter are taken one after the other, as a counter gives one a cycle.
        shared, a_ahead = Signal(reset_less=True), Signal(reset_less=True)
        may_go = (~a_needed | self.a_wait.available) & (~acc_needed | self.acc_wait.available) & ~a_ahead
        if self.config.sparsity:
            panel_stride, takes_more = self._panels(m, matmul, walker, row_word, a_needed)
            may_go = may_go & ~takes_more
            run = run[0]
        m.d.comb += [
            walker.k_tiles.eq(matmul.k_tiles), walker.k_offset.eq(matmul.k_offset), walker.n_tiles.eq(matmul.n_tiles),
            walker.k_outer.eq(matmul.k_outer),
            last.eq(walker.k_last & walker.n_last),
            granted.eq(may_go),
            self.a_wait.id.eq(a_wait),
            self.acc_wait.id.eq(matmul.acc_wait),
            tile.rows.eq(matmul.rows), tile.single.eq(matmul.rows == 1),
            tile.odd.eq(row_word[0]),
            tile.k_sub.eq(walker.k_sub),
            tile.is_unsigned.eq(matmul.a_unsigned),
            tile.address.eq(acc_word),
            accumulate.eq(~walker.k_first | matmul.accumulate),
            tile.accumulate.eq(accumulate),
            tile.rescale.eq(walker.k_first & matmul.rescale),
            tile.state.eq(matmul.state_base),
            tile.a_token.eq(Mux(last, matmul.a_signal, 0)),
            tile.acc_token.eq(Mux(Mux(matmul.acc_signal_each, walker.k_last, last), matmul.acc_signal, 0)),
            run.line.eq(row_word >> 1),
            run.count.eq((matmul.rows + row_word[0] + 1) >> 1),
            self.pc.eq(pc),
        ]

        # Words of the pass before begin at `before`; how far this pass's are from there is found with its tile. Two passes back
        # everything is written, unless passes are very short.
        before = Signal(len(acc_word), reset_less=True)
        rows_before = Signal(len(matmul.rows))
        distance = Signal(signed(len(acc_word) + 1), reset_less=True)
        from_start = Signal.like(distance)
        with m.If(walker.next):
            m.d.sync += [before.eq(acc_word), rows_before.eq(matmul.rows)]
        overlaps = accumulate & (distance != 0) & (distance < rows_before) & (distance + matmul.rows > 0)
        if self.config.weight_steps < Accumulators.LATENCY - 1:
            overlaps |= self._follows_short_pass(m, matmul, walker, rows_before)
        m.d.comb += [
            from_start.eq(matmul.acc_base - Mux(walker.start, before, acc_word)),
            tile.repeats.eq(accumulate & (distance == 0)),
            tile.overlaps.eq(overlaps),
        ]

        is_sync = is_instruction(offered_sync.opcode, "TENSOR_SYNC")
        with m.FSM(name="state") as fsm:
            with m.State("IDLE"):
                # Fields are taken before it is known whether they count.
                m.d.comb += self.instructions.ready.eq(1)
                m.d.sync += [
                    matmul.eq(offered.word), a_wait.eq(offered_matmul.a_wait),
                    shared.eq((offered_matmul.a_wait == offered_matmul.acc_wait) & (offered_matmul.a_wait != 0)),
                    waits.eq(offered_sync.wait_count),
                    signals.eq(offered_sync.signal_count),
                    takes.eq((offered_sync.wait != 0) & (offered_sync.wait_count != 0)),
                    gives.eq((offered_sync.signal != 0) & (offered_sync.signal_count != 0)),
                ]
                with m.If(is_sync):
                    m.d.sync += a_wait.eq(offered_sync.wait)
                with m.If(self.instructions.valid):
                    m.d.sync += pc.eq(offered.pc)
                    with m.If(is_sync):
                        m.next = "SYNC"
                    with m.Else():
                        m.next = "START"
            with m.State("START"):      # the counters are asked for the first time
                m.d.comb += walker.start.eq(1)
                m.next = "TILES"
            with m.State("TILES"):
                m.d.comb += [
                    self.waiting.eq(~granted),
                    self.semaphore.eq(Mux(a_needed & ~self.a_wait.available, a_wait, matmul.acc_wait)),
                    self.runs.valid.eq(granted & self.tiles.ready),
                    self.tiles.valid.eq(granted & self.runs.ready),
                    walker.next.eq(granted & self.runs.ready & self.tiles.ready),
                    self.a_wait.consume.eq(walker.next & a_needed),
                    self.acc_wait.consume.eq(walker.next & acc_needed),
                ]
                ahead = a_ahead if takes_more is None else a_ahead & ~takes_more
                with m.If(ahead & self.a_wait.available):
                    m.d.comb += [self.a_wait.consume.eq(1), self.waiting.eq(0)]
                    m.d.sync += [a_needed.eq(0), a_ahead.eq(0)]
                if takes_more is not None:
                    with m.If(takes_more & self.a_wait.available):
                        m.d.comb += [self.a_wait.consume.eq(1), self.waiting.eq(0)]
                with m.If(walker.next & last):
                    m.next = "IDLE"
            with m.State("SYNC"):
                m.d.comb += self.semaphore.eq(a_wait)
                # A register: a token may leave its counter behind this.
                m.d.sync += reached.eq(self.drained & self.at_sync & ~self.synced)
                with m.If(reached):
                    with m.If(takes):
                        m.d.comb += [self.a_wait.consume.eq(self.a_wait.available),
                                     self.waiting.eq(~self.a_wait.available)]
                        with m.If(self.a_wait.available):
                            m.d.sync += [waits.eq(waits - 1), takes.eq(waits != 1)]
                    with m.Elif(gives):
                        m.d.comb += [self.sync_signal.valid.eq(1), self.sync_signal.id.eq(sync.signal)]
                        m.d.sync += [signals.eq(signals - 1), gives.eq(signals != 1)]
                    with m.Else():
                        m.d.comb += self.synced.eq(1)
                        m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

        # `next`, which comes late, only lets registers change; to what is chosen by others.
        with m.If(walker.start | walker.next):
            m.d.sync += distance.eq(0)
            with m.If(walker.start):
                m.d.sync += [row_word.eq(matmul.a_base), acc_word.eq(matmul.acc_base), distance.eq(from_start),
                             a_needed.eq(1), acc_needed.eq(1), a_ahead.eq(shared)]
            with m.Else():
                # After the last tile nothing is asked for before the next walk's start.
                a_next = matmul.a_wait_each & walker.n_first_next & walker.k_enters_next
                acc_next = matmul.acc_wait_each & walker.k_first_next
                m.d.sync += [a_needed.eq(a_next), acc_needed.eq(acc_next), a_ahead.eq(a_next & acc_next & shared)]
                with m.If(walker.k_panel):
                    m.d.sync += row_word.eq(row_word + panel_stride)
                with m.Elif(walker.k_wrap):
                    m.d.sync += row_word.eq(matmul.a_base)
                with m.If(walker.n_step):
                    m.d.sync += [acc_word.eq(acc_word + matmul.acc_stride), distance.eq(matmul.acc_stride)]
                with m.Elif(walker.n_wrap):
                    m.d.sync += [acc_word.eq(matmul.acc_base), distance.eq(from_start)]
        return m

    def _follows_short_pass(self, m, matmul, walker, rows_before):
        """Whether the pass adds to what an earlier product may have left unwritten, although a pass has come in between.

        A pass takes as long as loading a tile, so two passes back everything is written, except where tiles load so fast that
        a pass of one or two rows ends sooner. Only a product's first two passes can come so soon behind another product's, and
        two passes of one product that add to the same words are further apart.
        """
        first, second = walker.k_first & walker.n_first, Signal(reset_less=True)
        with m.If(walker.start):
            m.d.sync += second.eq(0)
        with m.Elif(walker.next):
            m.d.sync += second.eq(first)
        return matmul.accumulate & walker.k_first & (first | second) & (rows_before < Accumulators.LATENCY - 1)

    def _panels(self, m, matmul, walker, row_word, a_needed):
        """The panels of each K tile beside the first, and tokens for them.

        Returns the words between K tiles, and whether the tile needs more tokens of ``a_wait`` than one: they are taken one a
        cycle.
        """
        config, tile = self.config, self.tiles.payload
        sparse, covered, panels = Signal(), Signal(range(config.sparse_panels + 1)), Signal(range(config.sparse_panels + 1))
        stride = Signal(len(row_word))
        m.d.comb += [
            sparse.eq(is_instruction(matmul.opcode, "MATMUL") & is_sparse(config, matmul)),
            tile.format.eq(Mux(sparse, matmul.w_format, isa.WeightFormat.INT8)),
            covered.eq(1), stride.eq(matmul.a_panel_stride),
            panels.eq(covered - Mux(walker.k_last & sparse, matmul.k_missing, 0)),
            tile.panels.eq(panels), tile.odds[0].eq(row_word[0]),
        ]
        with m.Switch(tile.format):
            for number, count in isa.SPARSE_PANELS.items():
                if number in config.weight_formats:
                    with m.Case(number):
                        m.d.comb += [covered.eq(count), stride.eq(matmul.a_panel_stride * count)]
        for n in range(1, config.sparse_panels):
            run, word = self.runs.payload[n], Signal.like(row_word, name=f"row_word_{n}")
            m.d.comb += [word.eq(row_word + matmul.a_panel_stride * n), tile.odds[n].eq(word[0]), run.line.eq(word >> 1)]
            with m.If(panels > n):
                m.d.comb += run.count.eq((matmul.rows + word[0] + 1) >> 1)
        taken, more = Signal(range(config.sparse_panels)), Signal()
        m.d.comb += more.eq(a_needed & matmul.a_wait_each & (taken + 1 != panels))
        with m.If(walker.next):
            m.d.sync += taken.eq(0)
        with m.Elif(more & self.a_wait.consume):
            m.d.sync += taken.eq(taken + 1)
        return stride, more
