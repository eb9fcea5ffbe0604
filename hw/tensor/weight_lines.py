"""Middle of the weight loader: which scratchpad lines a tile needs."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..streams import SkidBuffer, StreamBuffer
from .circulant import circulant_rows
from .reader import run_layout
from .weight_tiles import TileKind, format_members, located_layout, sub_shape

__all__ = ["WeightLines", "EARLY", "most_lines", "weight_tile_layout"]

#: Members of `weight_tile_layout` that decide whether the shifter takes a step.
EARLY = "kind", "some_zeros", "odd"


def most_lines(config):
    """Scratchpad lines that the words of one weight tile touch at most."""
    words = max(config.weight_tile_words, config.rows, config.cols) // 2 + 1
    return max(words, config.sparse_tile_words // 2) if config.sparsity else words


def weight_tile_layout(config):
    """What it takes to shift a tile in.

    kind
        `TileKind`.
    zeros
        Steps that load zeros, before those whose words come from the lines.
    some_zeros
        There are some.
    odd
        The first word is the upper one of its line.
    features
        Features of its K tile (for KEYS: bytes of a word that count).
    sub, token
        As in `located_layout`, and so are `format_members`.
    """
    return data.StructLayout({
        "kind": TileKind, "zeros": range(max(config.rows, config.cols) + 1), "some_zeros": 1, "odd": 1, "features": 7,
        "sub": sub_shape(config), "token": isa.SEMAPHORE_BITS,
        **format_members(config),
    })


class WeightLines(wiring.Component):
    """Splits each located tile into the run of lines to read and what to do with them, in two pipeline stages.

    The words of keys beyond those that are ``left``, and of rows beyond the K tile's features, are not read. Keys go down, because
    the last row (column) is loaded first, so the missing ones come first.

    Parameters
    ----------
    config : Config

    Members
    -------
    located : In(stream.Signature(located_layout(config)))
    runs : Out(stream.Signature(run_layout(config, most_lines(config))))
    tiles : Out(stream.Signature(weight_tile_layout(config)))
    busy : Out(1)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "located": In(stream.Signature(located_layout(config))),
            "runs": Out(stream.Signature(run_layout(config, most_lines(config)))),
            "tiles": Out(stream.Signature(weight_tile_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        located = located_layout(config)
        # The walk goes on by a register: behind it counters, the ring and addresses depend on its going.
        m.submodules.located_buffer = first = SkidBuffer(located)
        wiring.connect(m, wiring.flipped(self.located), first.i)

        # Words present, and the lowest of them.
        counted = data.StructLayout({"tile": weight_tile_layout(config), "word": located["word"].shape, "present": 8})
        m.submodules.counted_buffer = second = StreamBuffer(counted)
        tile, result = first.o.payload, second.i.payload
        size, present = Signal(7), Signal(8)
        m.d.comb += size.eq(Mux(tile.kind == TileKind.KEYS, config.cols, tile.features))
        if config.circulant:
            with m.If(tile.block.any()):
                m.d.comb += size.eq(circulant_rows(config, tile))
        streamed_words = config.weight_tile_words
        if config.four_bit:
            streamed_words = Mux(tile.scales, 1, Mux(tile.four_bit, config.four_bit_tile_words, config.weight_tile_words))
        if config.sparsity:
            streamed_words = Mux(tile.sparse, config.sparse_tile_words, streamed_words)
        with m.If(tile.kind == TileKind.STREAM):
            m.d.comb += [present.eq(streamed_words), result.word.eq(tile.word)]
        with m.Else():
            m.d.comb += result.word.eq(tile.word + tile.key)
            with m.If(tile.left < 0):
                m.d.comb += present.eq(0)
            with m.Elif(tile.left > size):
                m.d.comb += present.eq(size)
            with m.Else():
                m.d.comb += present.eq(tile.left)
        m.d.comb += [getattr(result.tile, name).eq(getattr(tile, name))
                     for name in ("kind", "features", "sub", "token", *format_members(config))]
        m.d.comb += result.present.eq(present)
        m.d.comb += [second.i.valid.eq(first.o.valid), first.o.ready.eq(second.i.ready)]

        # The lines that hold them, in the order in which they are used.
        words, run = second.o.payload, self.runs.payload
        top = Signal.like(words.word)
        down = words.tile.kind != TileKind.STREAM
        steps = Mux(words.tile.kind == TileKind.KEYS, config.cols, config.rows)
        if config.circulant:
            steps = Mux(words.tile.block.any(), circulant_rows(config, words.tile), steps)
        m.d.comb += [
            top.eq(words.word + words.present - 1),
            run.down.eq(down),
            run.line.eq(Mux(down, top, words.word) >> 1),
            run.count.eq(Mux(words.present == 0, 0, (words.present + words.word[0] + 1) >> 1)),
            self.tiles.payload.eq(words.tile),
            self.tiles.payload.zeros.eq(steps - words.present),
            self.tiles.payload.some_zeros.eq(down & (words.present != steps)),
            self.tiles.payload.odd.eq(Mux(down, top[0], words.word[0])),
            self.runs.valid.eq(second.o.valid & self.tiles.ready),
            self.tiles.valid.eq(second.o.valid & self.runs.ready),
            second.o.ready.eq(self.runs.ready & self.tiles.ready),
            self.busy.eq(first.o.valid | second.o.valid),
        ]
        return m
