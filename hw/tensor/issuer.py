"""Back of the row streamer: rows into the array, their results' destinations beside them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import RescaleRead, TokenSignal
from ..memory.accumulators import Accumulators
from .blocks import ActivationBlocks, operands_layout
from .row_tiles import row_tile_layout
from .weight_tiles import features_of, sub_shape

__all__ = ["RowIssuer", "destination_layout"]


def destination_layout(config):
    """Where a row's result goes: `ResultPort` without the sums."""
    return data.StructLayout({
        "address": (config.accumulator_words - 1).bit_length(), "accumulate": 1, "rescale": 1, "distance": 6,
        "token": isa.SEMAPHORE_BITS,
    })


class RowIssuer(wiring.Component):
    """Takes one row of a pass each cycle, from the cycle on in which the shadow weights are full.

    Bytes beyond the K tile's features become zero. The word is chosen in the cycle after, its bytes in the next;
    ``operands`` and ``destination`` come two cycles after the row is taken, ``swap`` one. With `sparsity` a row consists of
    a word of each panel of its K tile.

    Parameters
    ----------
    config : Config

    Members
    -------
    tiles : In(stream.Signature(row_tile_layout(config)))
    lines : In(stream.Signature(8 * line_bytes))
        With `sparsity` ``lines_<n>`` for each panel.
    full : In(1)
        The pass's tile is in the shadow weights.
    take : Out(1)
        It is taken, with the pass's first row; only with ``full``.
    rescale : Out(RescaleRead(config))
    a_signal : Out(TokenSignal())
    swap : Out(1)
    operands : Out(operands_layout(config))
    valid : Out(1)
    destination : Out(destination_layout(config))
    starved : Out(1)
        A row waits for its line.
    unloaded : Out(1)
        A row waits for its tile.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "tiles": In(stream.Signature(row_tile_layout(config))),
            **{name: In(stream.Signature(8 * config.line_bytes)) for name in self._line_names()},
            "full": In(1), "take": Out(1),
            "rescale": Out(RescaleRead(config)), "a_signal": Out(TokenSignal()), "swap": Out(1),
            "operands": Out(operands_layout(config)),
            "valid": Out(1), "destination": Out(destination_layout(config)),
            "starved": Out(1), "unloaded": Out(1),
        })

    def _line_names(self):
        return [f"lines_{n}" for n in range(self.config.sparse_panels)] if self.config.sparsity else ["lines"]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        tile = self.tiles.payload
        word_bits = 8 * config.word_bytes

        row = Signal(len(tile.rows))
        following = Signal(len(tile.rows), init=1)
        # Whether a row is its pass's first, or not the first but the last, is found a row before: much depends on a row's going.
        first, ends = Signal(init=1), Signal(reset_less=True)
        last, upper, fire, offered, starts = Signal(), Signal(), Signal(), Signal(), Signal()
        # Rows whose results are not written when this one's reads, and a pass's first row among them: it comes again with the
        # next pass.
        any_recent, recent = Signal(), Signal(Accumulators.LATENCY - 2)
        comes_again, recent_pass = Signal(), Signal(Accumulators.LATENCY - 2)
        waits_for_word = tile.repeats & comes_again
        if config.sparsity:
            # Passes of sparse tiles may have gaps, so that short ones wait until all of the one before is written.
            sparse, sparse_before = tile.format != isa.WeightFormat.INT8, Signal()
            with m.If(self.take):
                m.d.sync += sparse_before.eq(sparse)
            waits_for_word |= tile.repeats & (sparse | sparse_before) & (tile.rows < Accumulators.LATENCY) & any_recent
            lines_valid, words = self._panels(m, fire, last, row)
        else:
            lines_valid, words = self.lines.valid, self.lines.payload.word_select(upper, word_bits)
        m.d.comb += [
            last.eq(Mux(first, tile.single, ends)),
            *([] if config.sparsity else [upper.eq(tile.odd ^ row[0])]),
            offered.eq(self.tiles.valid & lines_valid),
            starts.eq(offered & first & ~((tile.overlaps & any_recent) | waits_for_word)),
            self.take.eq(starts & self.full),
            fire.eq((offered & ~first) | self.take),
            self.tiles.ready.eq(fire & last),
            *([] if config.sparsity else [self.lines.ready.eq(fire & (last | upper))]),
            self.starved.eq(self.tiles.valid & ~lines_valid),
            self.unloaded.eq(self.tiles.valid & lines_valid & first & ~self.full),
        ]
        with m.If(fire):
            m.d.sync += [row.eq(Mux(last, 0, following)), following.eq(Mux(last, 1, following + 1)),
                         first.eq(last), ends.eq(following + 1 == tile.rows)]

        m.d.sync += [
            recent.eq((recent << 1) | fire), any_recent.eq(recent.any() | fire),
            recent_pass.eq((recent_pass << 1) | self.take), comes_again.eq(recent_pass.any() | self.take),
        ]

        # First cycle: the word, and where its result goes.
        chosen = Signal(data.StructLayout({
            "word": len(words), "k_sub": sub_shape(config), "is_unsigned": 1, "state": len(self.rescale.row),
            "destination": destination_layout(config),
            **({"format": isa.WEIGHT_FORMAT_BITS, "panels": len(tile.panels)} if config.sparsity else {}),
        }), reset_less=True)
        chosen_valid, swap, signal = Signal(), Signal(), Signal()
        token = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        m.d.sync += [chosen_valid.eq(fire), swap.eq(self.take), signal.eq(fire & last), token.eq(tile.a_token)]
        with m.If(fire):
            m.d.sync += [
                chosen.word.eq(words),
                chosen.k_sub.eq(tile.k_sub), chosen.is_unsigned.eq(tile.is_unsigned),
                chosen.state.eq(tile.state + row),
                chosen.destination.address.eq(tile.address + row),
                chosen.destination.accumulate.eq(tile.accumulate),
                chosen.destination.rescale.eq(tile.rescale),
                chosen.destination.token.eq(Mux(last, tile.acc_token, 0)),
            ]
            if config.sparsity:
                m.d.sync += [chosen.format.eq(tile.format), chosen.panels.eq(tile.panels)]
        m.d.comb += [
            self.rescale.row.eq(chosen.state), self.swap.eq(swap),
            self.a_signal.valid.eq(signal), self.a_signal.id.eq(token),
        ]

        # Second cycle: the K tile's bytes, and the distance of the row.
        valid = Signal()
        destination = Signal(destination_layout(config), reset_less=True)
        m.d.sync += valid.eq(chosen_valid)
        with m.If(chosen_valid):
            m.d.sync += destination.eq(chosen.destination)
        operands = self._blocks(m, chosen_valid, chosen) if config.sparsity else self._operands(m, chosen_valid, chosen)
        m.d.comb += [
            self.valid.eq(valid), self.operands.eq(operands),
            self.destination.eq(destination), self.destination.distance.eq(self.rescale.distance),
        ]
        return m

    def _panels(self, m, fire, last, row):
        """Takes the lines of the panels that the tile has; whether all are there, and the words of the row side by side."""
        tile, valid, words = self.tiles.payload, Signal(name="lines_valid", init=1), []
        m.d.comb += valid.eq(1)
        for n, name in enumerate(self._line_names()):
            lines, needed, upper = getattr(self, name), tile.panels > n, Signal(name=f"upper_{n}")
            with m.If(needed & ~lines.valid):
                m.d.comb += valid.eq(0)
            m.d.comb += [upper.eq(tile.odds[n] ^ row[0]), lines.ready.eq(fire & needed & (last | upper))]
            words.append(lines.payload.word_select(upper, 8 * self.config.word_bytes))
        return valid, Cat(words)

    def _blocks(self, m, chosen_valid, chosen):
        """The activations of the chosen row, for each pair of the array's rows."""
        m.submodules.blocks = blocks = ActivationBlocks(self.config)
        m.d.comb += [
            blocks.valid.eq(chosen_valid), blocks.words.eq(chosen.word), blocks.format.eq(chosen.format),
            blocks.panels.eq(chosen.panels), blocks.is_unsigned.eq(chosen.is_unsigned),
        ]
        return blocks.operands

    def _operands(self, m, chosen_valid, chosen):
        """The activations of the chosen row, one for each of the array's rows."""
        config = self.config
        operands = Signal(self.operands.shape(), reset_less=True)
        piece = Signal(8 * config.rows)
        with m.Switch(chosen.k_sub):
            for number in range(config.k_tiles_per_panel):
                with m.Case(number):
                    m.d.comb += piece.eq(chosen.word[8 * config.rows * number:])
        features = Signal(7)
        m.d.comb += features.eq(features_of(config, chosen.k_sub))
        with m.If(chosen_valid):
            for r in range(config.rows):
                byte = piece.word_select(r, 8)
                extended = Mux(chosen.is_unsigned, byte, byte.as_signed())
                m.d.sync += operands[r].eq(Mux(r < features, extended, 0))
        return operands
