"""Back of the row streamer: rows into the array, their results' destinations beside them."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import RescaleRead, TokenSignal
from ..memory.accumulators import Accumulators
from .row_tiles import row_tile_layout
from .weight_tiles import features_of, sub_shape

__all__ = ["RowIssuer", "destination_layout"]


def destination_layout(config):
    """Where a row's result goes: `ResultPort` without the sums."""
    return data.StructLayout({
        "address": (config.accumulator_words - 1).bit_length(), "accumulate": 1, "rescale": 1, "distance": 6, "token": 5,
    })


class RowIssuer(wiring.Component):
    """Takes one row of a pass each cycle, from the cycle on in which the shadow weights are full.

    Bytes beyond the K tile's features become zero. The word is chosen in the cycle after, its bytes in the next;
    ``operands`` and ``destination`` come two cycles after the row is taken, ``swap`` one.

    Parameters
    ----------
    config : Config

    Members
    -------
    tiles : In(stream.Signature(row_tile_layout(config)))
    lines : In(stream.Signature(8 * line_bytes))
    full : In(1)
        The pass's tile is in the shadow weights.
    take : Out(1)
        It is taken, with the pass's first row; only with ``full``.
    rescale : Out(RescaleRead(config))
    a_signal : Out(TokenSignal())
    swap : Out(1)
    operands : Out(ArrayLayout(signed(9), rows))
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
            "lines": In(stream.Signature(8 * config.line_bytes)),
            "full": In(1), "take": Out(1),
            "rescale": Out(RescaleRead(config)), "a_signal": Out(TokenSignal()), "swap": Out(1),
            "operands": Out(data.ArrayLayout(signed(9), config.rows)),
            "valid": Out(1), "destination": Out(destination_layout(config)),
            "starved": Out(1), "unloaded": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        tile = self.tiles.payload
        word_bits = 8 * config.word_bytes

        row = Signal(len(tile.rows))
        following = Signal(len(tile.rows), init=1)
        first, last, upper, fire, may_start = Signal(), Signal(), Signal(), Signal(), Signal()
        recent = Signal(Accumulators.LATENCY - 1)       # rows whose results are not written when this one's reads
        recent_pass = Signal(Accumulators.LATENCY - 1)  # a pass's first row among them: it comes again with the next pass
        m.d.comb += [
            first.eq(row == 0),
            last.eq(following == tile.rows),
            upper.eq(tile.odd ^ row[0]),
            may_start.eq(self.full & ~(tile.overlaps & recent.any()) & ~(tile.repeats & recent_pass.any())),
            fire.eq(self.tiles.valid & self.lines.valid & (~first | may_start)),
            self.take.eq(fire & first),
            self.tiles.ready.eq(fire & last),
            self.lines.ready.eq(fire & (last | upper)),
            self.starved.eq(self.tiles.valid & ~self.lines.valid),
            self.unloaded.eq(self.tiles.valid & self.lines.valid & first & ~self.full),
        ]
        with m.If(fire):
            m.d.sync += [row.eq(Mux(last, 0, following)), following.eq(Mux(last, 1, following + 1))]

        m.d.sync += [recent.eq((recent << 1) | fire), recent_pass.eq((recent_pass << 1) | self.take)]

        # First cycle: the word, and where its result goes.
        chosen = Signal(data.StructLayout({
            "word": word_bits, "k_sub": sub_shape(config), "is_unsigned": 1, "state": len(self.rescale.row),
            "destination": destination_layout(config),
        }), reset_less=True)
        chosen_valid, swap, signal = Signal(), Signal(), Signal()
        token = Signal(5, reset_less=True)
        m.d.sync += [chosen_valid.eq(fire), swap.eq(self.take), signal.eq(fire & last), token.eq(tile.a_token)]
        with m.If(fire):
            m.d.sync += [
                chosen.word.eq(self.lines.payload.word_select(upper, word_bits)),
                chosen.k_sub.eq(tile.k_sub), chosen.is_unsigned.eq(tile.is_unsigned),
                chosen.state.eq(tile.state + row),
                chosen.destination.address.eq(tile.address + row),
                chosen.destination.accumulate.eq(tile.accumulate),
                chosen.destination.rescale.eq(tile.rescale),
                chosen.destination.token.eq(Mux(last, tile.acc_token, 0)),
            ]
        m.d.comb += [
            self.rescale.row.eq(chosen.state), self.swap.eq(swap),
            self.a_signal.valid.eq(signal), self.a_signal.id.eq(token),
        ]

        # Second cycle: the K tile's bytes, and the distance of the row.
        valid = Signal()
        operands = Signal(self.operands.shape(), reset_less=True)
        destination = Signal(destination_layout(config), reset_less=True)
        piece = Signal(8 * config.rows)
        with m.Switch(chosen.k_sub):
            for number in range(config.k_tiles_per_panel):
                with m.Case(number):
                    m.d.comb += piece.eq(chosen.word[8 * config.rows * number:])
        features = Signal(7)
        m.d.comb += features.eq(features_of(config, chosen.k_sub))
        m.d.sync += valid.eq(chosen_valid)
        with m.If(chosen_valid):
            m.d.sync += destination.eq(chosen.destination)
            for r in range(config.rows):
                byte = piece.word_select(r, 8)
                extended = Mux(chosen.is_unsigned, byte, byte.as_signed())
                m.d.sync += operands[r].eq(Mux(r < features, extended, 0))
        m.d.comb += [
            self.valid.eq(valid), self.operands.eq(operands),
            self.destination.eq(destination), self.destination.distance.eq(self.rescale.distance),
        ]
        return m
