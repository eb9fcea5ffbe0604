"""Front of the weight loader: from instructions to tiles, with their tokens and places in the scratchpad."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..decoding import is_instruction
from ..interfaces import PC_BITS, InstructionStream, TokenWait, instruction_layout
from .circulant import circulant_members, circulant_rows
from .walker import TileWalker

__all__ = ["WeightTiles", "TileKind", "located_layout", "features_of", "format_members", "is_sparse",
           "sub_shape"]

_FIELDS = isa.INSTRUCTIONS["MATMUL"].fields
_WORD_BITS = _FIELDS["w_base"].width


class TileKind(enum.Enum, shape=2):
    """Where a tile comes from, and thereby how its words are laid out."""
    STREAM = 0      #: streamed weights: rows in slots, ascending addresses, two in a step
    KEYS = 1        #: K transposed: a word is a column (of circulant weights: the columns of a block), descending
    VALUES = 2      #: V: a word is a row, descending


def sub_shape(config):
    """Shape of the number of a tile within its panel."""
    return unsigned((max(2, config.k_tiles_per_panel, config.tiles_per_panel) - 1).bit_length())


def features_of(config, k_sub):
    """Features (1 to ``rows``) of K tile number `k_sub`, a signal, of a panel."""
    table = [min(config.rows, config.panel - tile * config.rows) for tile in range(config.k_tiles_per_panel)]
    return Array(Const(count, unsigned(7)) for count in table)[k_sub]


def first_key(config, k_offset):
    """Number of the first key of K tile number `k_offset`, a signal, of panel 0 of the values."""
    return Array(Const(tile * config.rows, _WORD_BITS) for tile in range(config.k_tiles_per_panel))[k_offset]


def format_members(config):
    """Members of a tile's layouts that say how streamed weights lie in memory; none if there is one way only.

    sparse
        Lines of indices stand before the lines of values that they serve.
    four_bit
        Rows of 4-bit values, with the scales of row ``scale`` of the word of scales taken last.
    scales
        No tile: the next word of scales.
    split
        The lower half of the tile has the scales of row ``scale + 1``.

    Besides, `circulant_members`.
    """
    members = {"four_bit": 1, "scales": 1, "scale": range(config.scale_rows_per_word), "split": 1} if config.four_bit else {}
    return members | ({"sparse": 1} if config.sparsity else {}) | circulant_members(config)


def is_sparse(config, matmul):
    """Whether the weights of a MATMUL are sparse."""
    formats = [number for number in config.weight_formats if number in isa.SPARSE_PANELS]
    return reduce(or_, (matmul.w_format == number for number in formats), Const(0))


def located_layout(config):
    """A tile and where it lies.

    kind
        `TileKind`.
    word
        STREAM: its first word; else the word of key 0 in its panel.
    key, left
        Its first key, and how many keys are present from that on (less than 0: none).
    features
        Features of its K tile.
    sub
        Number of the tile within its panel: K tile for KEYS, N tile for VALUES.
    token
        Counter to add to when the tile has been read.

    Besides, `format_members`.
    """
    return data.StructLayout({
        "kind": TileKind, "word": _WORD_BITS, "key": _WORD_BITS, "left": signed(_WORD_BITS + 1), "features": 7,
        "sub": sub_shape(config), "token": isa.SEMAPHORE_BITS, **format_members(config),
    })


class WeightTiles(wiring.Component):
    """Walks the tiles of each instruction, one a cycle, and consumes ``w_wait``.

    Of 4-bit weights each word of scales comes before the first tile that needs it, like a tile of its own.

    Parameters
    ----------
    config : Config

    Members
    -------
    instructions : In(InstructionStream())
    w_wait : Out(TokenWait())
    tiles : Out(stream.Signature(located_layout(config)))
    at_sync : Out(1)
        Holds at a TENSOR_SYNC until ``synced``.
    synced : In(1)
    waiting : Out(1)
        For a token.
    semaphore : Out(isa.SEMAPHORE_BITS)
        Counter that it waits for; at a TENSOR_SYNC the one that the streamer waits for.
    busy : Out(1)
        Has an instruction.
    pc : Out(PC_BITS)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()), "w_wait": Out(TokenWait()),
            "tiles": Out(stream.Signature(located_layout(config))),
            "at_sync": Out(1), "synced": In(1), "waiting": Out(1), "semaphore": Out(isa.SEMAPHORE_BITS), "busy": Out(1),
            "pc": Out(PC_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.walker = walker = TileWalker(config)

        # All three products have their first fields in common.
        matmul = Signal(instruction_layout("MATMUL"), reset_less=True)
        kv = data.View(instruction_layout("MATMUL_KT"), matmul.as_value())
        kind = Signal(TileKind, reset_less=True)
        pc = Signal(PC_BITS, reset_less=True)
        w_wait = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        streamed = kind == TileKind.STREAM

        word = Signal(_WORD_BITS, reset_less=True)
        key = Signal(_WORD_BITS, reset_less=True)
        chunk_words = Signal(_WORD_BITS, reset_less=True)
        # What a tile asks of the counters is found a tile before: `following` counts up to the tile after the next in its chunk,
        # `next_slot` up to the slot after this one, which is the ring's first again behind its last.
        following = Signal(_FIELDS["chunk_tiles"].width, reset_less=True)
        next_slot = Signal(_FIELDS["ring_slots"].width + 1, reset_less=True)
        last_in_chunk, last_in_ring, needs_token = (Signal(reset_less=True) for _ in range(3))
        last = Signal()
        tile = self.tiles.payload
        m.d.comb += [
            walker.k_tiles.eq(matmul.k_tiles), walker.k_offset.eq(matmul.k_offset), walker.n_tiles.eq(matmul.n_tiles),
            walker.k_outer.eq(matmul.k_outer),
            last.eq(walker.k_last & walker.n_last),
            self.w_wait.id.eq(w_wait), self.semaphore.eq(w_wait),
            tile.kind.eq(kind), tile.word.eq(word), tile.key.eq(key), tile.left.eq(kv.w_limit - key),
            tile.features.eq(features_of(config, walker.k_sub)),
            tile.sub.eq(Mux(kind == TileKind.KEYS, walker.k_sub, walker.n_sub)),
            tile.token.eq(Mux(streamed, Mux(last | last_in_chunk, matmul.w_signal, 0), Mux(last, kv.w_signal, 0))),
            self.pc.eq(pc),
        ]

        tile_words, takes_tile = config.weight_tile_words, self.tiles.ready
        if config.four_bit:
            four_bit = (matmul.w_format == isa.WeightFormat.FOUR_BIT) & streamed
            tile_words = Mux(four_bit, config.four_bit_tile_words, config.weight_tile_words)
            takes_tile = self.tiles.ready & ~self._scales(m, matmul, streamed, walker)
        if config.sparsity:
            sparse = Signal()
            m.d.comb += [sparse.eq(is_sparse(config, matmul) & streamed), tile.sparse.eq(sparse)]
            tile_words = Mux(sparse, config.sparse_tile_words, tile_words)
        tile_keys = config.cols
        if config.circulant:
            tile_keys = self._circulant(m, matmul, last)

        offered = self.instructions.payload
        opcode = offered.word[:isa.OPCODE_BITS]
        stream_view = data.View(instruction_layout("MATMUL"), offered.word)
        rows_view = data.View(instruction_layout("MATMUL_KT"), offered.word)
        sync_view = data.View(instruction_layout("TENSOR_SYNC"), offered.word)
        placing = Signal()
        with m.FSM(name="state") as fsm:
            with m.State("IDLE"):
                # Fields are taken before it is known whether they count.
                m.d.comb += self.instructions.ready.eq(1)
                m.d.sync += [
                    matmul.eq(offered.word), kind.eq(TileKind.STREAM), w_wait.eq(stream_view.w_wait),
                ]
                with m.If(is_instruction(opcode, "MATMUL_KT")):
                    m.d.sync += [kind.eq(TileKind.KEYS), w_wait.eq(rows_view.w_wait)]
                with m.If(is_instruction(opcode, "MATMUL_V")):
                    m.d.sync += [kind.eq(TileKind.VALUES), w_wait.eq(rows_view.w_wait)]
                if config.circulant:
                    with m.If(is_instruction(opcode, "MATMUL_C")):
                        m.d.sync += [kind.eq(TileKind.KEYS),
                                     w_wait.eq(data.View(instruction_layout("MATMUL_C"), offered.word).w_wait)]
                with m.If(is_instruction(opcode, "TENSOR_SYNC")):
                    m.d.sync += w_wait.eq(sync_view.wait)
                with m.If(self.instructions.valid):
                    m.d.sync += pc.eq(offered.pc)
                    m.next = "START"
                    with m.If(is_instruction(opcode, "TENSOR_SYNC")):
                        m.next = "SYNC"
            with m.State("SYNC"):
                m.d.comb += self.at_sync.eq(1)
                with m.If(self.synced):
                    m.next = "IDLE"
            with m.State("START"):      # the counter is asked for the first time
                m.d.comb += walker.start.eq(1)
                m.d.sync += chunk_words.eq(matmul.chunk_tiles * tile_words)
                m.next = "TILES"
                with m.If(streamed & (matmul.ring_slots != 0) & (matmul.ring_start != 0)):
                    m.next = "SLOT_WORDS"
            # The first chunk's place in the ring: one product a cycle.
            with m.State("SLOT_WORDS"):
                m.d.sync += chunk_words.eq(chunk_words * matmul.ring_start)
                m.next = "SLOT"
            with m.State("SLOT"):
                m.d.comb += placing.eq(1)
                m.next = "TILES"
            with m.State("TILES"):
                m.d.comb += [
                    self.waiting.eq(needs_token & ~self.w_wait.available),
                    self.tiles.valid.eq(~needs_token | self.w_wait.available),
                    walker.next.eq(self.tiles.valid & takes_tile),
                    self.w_wait.consume.eq(walker.next & needs_token),
                ]
                with m.If(walker.next & last):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

        # A next tile's word and key: the first one's again, or so much further on.
        word_moves, word_restarts, word_step = Signal(), Signal(), Signal(_WORD_BITS)
        key_moves, key_restarts, key_start = Signal(), Signal(), Signal(range(config.panel))
        key_step = Signal(range(max(config.rows, config.cols) + 1))
        with m.Switch(kind):
            with m.Case(TileKind.STREAM):
                m.d.comb += [word_moves.eq(1), word_step.eq(Mux(placing, chunk_words, tile_words)),
                             word_restarts.eq(last_in_chunk & last_in_ring)]
            with m.Case(TileKind.KEYS):
                m.d.comb += [
                    word_moves.eq(walker.k_panel), word_restarts.eq(walker.k_wrap), word_step.eq(kv.w_panel_stride),
                    key_moves.eq(walker.n_step), key_restarts.eq(walker.n_wrap), key_step.eq(tile_keys),
                ]
            with m.Case(TileKind.VALUES):
                tail = config.panel - (config.k_tiles_per_panel - 1) * config.rows
                m.d.comb += [
                    word_moves.eq(walker.n_panel), word_restarts.eq(walker.n_wrap), word_step.eq(kv.w_panel_stride),
                    key_moves.eq(walker.k_step), key_restarts.eq(walker.k_wrap),
                    key_step.eq(Mux(walker.k_panel, tail, config.rows)), key_start.eq(first_key(config, matmul.k_offset)),
                ]
        # `next`, which comes late, only lets registers change; to what is chosen by others.
        with m.If(walker.start | placing | walker.next):
            with m.If(walker.start):
                m.d.sync += [word.eq(matmul.w_base), key.eq(key_start), needs_token.eq(1), following.eq(2),
                             last_in_chunk.eq(matmul.chunk_tiles == 1), next_slot.eq(matmul.ring_start + 1),
                             last_in_ring.eq(matmul.ring_start + 1 == matmul.ring_slots)]
            with m.Elif(placing):
                m.d.sync += word.eq(word + word_step)
            with m.Else():
                with m.If(word_restarts):
                    m.d.sync += word.eq(matmul.w_base)
                with m.Elif(word_moves):
                    m.d.sync += word.eq(word + word_step)
                with m.If(key_restarts):
                    m.d.sync += key.eq(key_start)
                with m.Elif(key_moves):
                    m.d.sync += key.eq(key + key_step)
                m.d.sync += [needs_token.eq(streamed & last_in_chunk), following.eq(following + 1),
                             last_in_chunk.eq(following == matmul.chunk_tiles)]
                with m.If(last_in_chunk):
                    # A chunk's only tile is its first, too.
                    m.d.sync += [last_in_chunk.eq(needs_token), following.eq(2)]
                    with m.If(matmul.ring_slots != 0):
                        m.d.sync += [next_slot.eq(next_slot + 1), last_in_ring.eq(next_slot + 1 == matmul.ring_slots)]
                        with m.If(last_in_ring):
                            m.d.sync += [next_slot.eq(1), last_in_ring.eq(matmul.ring_slots == 1)]
        return m

    def _circulant(self, m, matmul, last):
        """Fields of a MATMUL_C, whose rows are like keys without a limit. Returns how many of them a tile takes."""
        tile = self.tiles.payload
        fields = data.View(instruction_layout("MATMUL_C"), matmul.as_value())
        with m.If(is_instruction(matmul.opcode, "MATMUL_C")):
            m.d.comb += [
                tile.token.eq(Mux(last, fields.w_signal, 0)), tile.left.eq((1 << _WORD_BITS) - 1),
                tile.block.eq(fields.block), tile.single.eq(fields.w_single), tile.column.eq(fields.w_column),
                tile.less_128.eq(fields.w_unsigned),
            ]
        return Mux(tile.block.any(), circulant_rows(self.config, tile), self.config.cols)

    def _scales(self, m, matmul, streamed, walker):
        """Counts the rows of scales: one for ``w_group`` tiles (none: two for each tile), from a new word for each N tile.

        Returns a signal: the next word of scales comes before the next tile.
        """
        tile = self.tiles.payload
        four_bit, due, started = Signal(), Signal(), Signal()
        word = Signal(_WORD_BITS, reset_less=True)
        tile_in_group = Signal(6)
        row = Signal(range(self.config.scale_rows_per_word))
        split, step = Signal(), Signal(range(3))
        following = Signal(range(self.config.scale_rows_per_word + 2))
        m.d.comb += [
            four_bit.eq((matmul.w_format == isa.WeightFormat.FOUR_BIT) & streamed),
            due.eq(four_bit & ~started),
            split.eq(matmul.w_group == 0),
            step.eq(Mux(split, 2, tile_in_group + 1 == matmul.w_group)),
            following.eq(row + step),
            tile.four_bit.eq(four_bit), tile.scales.eq(due), tile.scale.eq(row), tile.split.eq(split),
        ]
        with m.If(due):
            m.d.comb += [tile.word.eq(word), tile.token.eq(0)]
        with m.If(due & self.tiles.valid & self.tiles.ready):
            m.d.sync += [word.eq(word + 1), started.eq(1)]
        with m.If(walker.next):
            m.d.sync += [row.eq(following), tile_in_group.eq(Mux(step == 0, tile_in_group + 1, 0))]
            with m.If(walker.k_last | (following == self.config.scale_rows_per_word)):
                m.d.sync += [row.eq(0), started.eq(0)]
            with m.If(walker.k_last):
                m.d.sync += tile_in_group.eq(0)
        with m.If(self.instructions.valid & self.instructions.ready):
            m.d.sync += word.eq(data.View(instruction_layout("MATMUL"), self.instructions.payload.word).s_base)
        return due
