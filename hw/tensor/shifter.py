"""Back of the weight loader: shifts the lines of a tile into the array's shadow weights."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import TokenSignal
from .array import WeightLoad
from .circulant import CirculantColumns, circulant_members, for_block
from .decompressor import FourBitDecompressor
from .places import WeightPlaces
from .weight_lines import weight_tile_layout
from .weight_tiles import TileKind, sub_shape

__all__ = ["WeightShifter"]


class WeightShifter(wiring.Component):
    """Takes one step of a tile each cycle while the shadow weights are free, and says when they are full.

    A step's words are chosen in one cycle and their bytes in the next, when they go to the array. The first step of a tile is
    chosen while the shadow weights still hold the tile before; it goes to the array with the swap. A step of streamed
    weights takes two rows, from two words of one line or two slots of a word; only where each row is a word and the tile
    begins with the upper word of a line, its rows lie in different lines and come one after the other. A step of 4-bit
    weights takes one slot, and a word of scales a cycle of its own. So does a line of sparse weights' indices.

    Parameters
    ----------
    config : Config

    Members
    -------
    tiles : In(stream.Signature(weight_tile_layout(config)))
    lines : In(stream.Signature(8 * line_bytes))
    load : Out(WeightLoad(rows, cols))
    full : Out(1)
        The shadow weights hold a tile.
    swap : In(1)
        With ``full``: the tile becomes active, the next may shift in from this cycle on.
    w_signal : Out(TokenSignal())
        The tile's token, after its last word has been read.
    starved : Out(1)
        A step waits for its line.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "tiles": In(stream.Signature(weight_tile_layout(config))),
            "lines": In(stream.Signature(8 * config.line_bytes)),
            "load": Out(WeightLoad(config.rows, config.cols, config.activation_lanes > 0)),
            "full": Out(1), "swap": In(1), "w_signal": Out(TokenSignal()), "starved": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        tile = self.tiles.payload
        word_bits, slots = 8 * config.word_bytes, config.weight_rows_per_word
        slot_bits = (slots - 1).bit_length()
        slot_shape = unsigned(max(1, slot_bits))

        step = Signal(range(max(config.rows, config.cols)))
        full = Signal()
        streamed, left, zero, fire = Signal(), Signal(), Signal(), Signal()
        # The chosen step is a tile's first one, and the shadow weights hold the tile before. A register, so that no step's going
        # depends on `swap`, which comes late.
        waits, free = Signal(), Signal()
        has_step, takes, first_only, second, single = Signal(), Signal(), Signal(), Signal(), Signal()
        # Found a step before, as much depends on a step's going: the tile's zeros are behind, a word of it has been taken, the
        # step is its last.
        zeros_done, begun, last = Signal(), Signal(), Signal()
        offered = self.tiles.valid & ~tile.scales if config.four_bit else self.tiles.valid
        if config.sparsity:
            takes_indices, indices_due = self._indices(m, free, fire, last, step)
            offered = offered & ~indices_due
        m.d.comb += [
            streamed.eq(tile.kind == TileKind.STREAM),
            left.eq(tile.kind == TileKind.KEYS),
            zero.eq(tile.some_zeros & ~zeros_done),
            single.eq((config.rows % 2) & last),        # the upper half has a row more
            free.eq(~waits),
            has_step.eq(offered & (zero | self.lines.valid)),
            takes.eq(has_step & free),
            fire.eq((has_step & ~first_only) & free),
            self.tiles.ready.eq((has_step & ~first_only & last) & free),
            self.starved.eq(self.tiles.valid & ~zero & ~self.lines.valid & free),
            self.full.eq(full),
        ]
        with m.If(fire):
            before_last = Mux(left, config.cols - 2, Mux(streamed, config.weight_steps - 2, config.rows - 2))
            m.d.sync += [step.eq(Mux(last, 0, step + 1)), zeros_done.eq(~last & (step + 1 >= tile.zeros)),
                         last.eq(~last & (step == before_last))]
        with m.If(fire & last):
            m.d.sync += begun.eq(0)
        with m.Elif(takes & ~zero):
            m.d.sync += begun.eq(1)
        # A tile has more than one step, so what is full and what waits are two tiles.
        begins = Signal(init=1)
        m.d.sync += [waits.eq((waits | (fire & begins)) & full & ~self.swap), full.eq((fire & last) | (full & ~self.swap))]
        with m.If(fire):
            m.d.sync += begins.eq(last)

        # Place in the line: slot in the low bits, word in the high bit. Keys go down by whole words.
        place, next_place = Signal(slot_bits + 1), Signal(slot_bits + 1, reset_less=True)
        upper = place[slot_bits]
        line = self.lines.payload
        word = Signal(word_bits)
        m.d.comb += [
            place.eq(Mux(begun, next_place, tile.odd << slot_bits)),
            word.eq(line.word_select(upper, word_bits)),
        ]
        if slots == 1:
            # Rows in different lines: the first one is held.
            held = Signal(word_bits, reset_less=True)
            apart = streamed & tile.odd & ~tile.four_bit if config.four_bit else streamed & tile.odd
            m.d.comb += first_only.eq(apart & ~second & ~single)
            with m.If(takes):
                m.d.sync += second.eq(first_only)
                with m.If(first_only):
                    m.d.sync += held.eq(word)
            first_word, other_word = Mux(second, held, word), Mux(apart, word, line[word_bits:])
            following = place + Mux(apart, 1, 2)
            ends_line = Mux(streamed & ~apart, 1, Mux(streamed, upper, ~upper))
        else:
            first_word, other_word = word, word
            following = place + 2
            ends_line = Mux(streamed, place[1:].all(), ~upper)
        if config.four_bit:
            following = Mux(tile.four_bit, place + 1, following)
            ends_line = Mux(tile.four_bit, place.all(), ends_line)
        next_word = Cat(place[:slot_bits], ~upper)
        if config.circulant:
            # A word serves a block of columns, a single one the whole tile.
            keeps = tile.block.any() & (tile.single | ~for_block(config, tile.block, lambda b: step[:b.bit_length() - 1].all()))
            next_word, ends_line = Mux(keeps, place, next_word), ends_line & ~keeps
        line_done = (has_step & ~zero & ((last & ~first_only) | ends_line)) & free
        if config.sparsity:
            line_done = line_done | takes_indices
        m.d.comb += self.lines.ready.eq(line_done)
        with m.If(takes & ~zero):
            m.d.sync += next_place.eq(Mux(streamed, following, next_word))

        # First cycle: the words. Second cycle: their bytes.
        chosen = Signal(data.StructLayout({
            "kind": TileKind, "sub": sub_shape(config), "features": 7, "slot": slot_shape,
            "step": step.shape(), "word": unsigned(word_bits), "other": unsigned(word_bits),
        }), reset_less=True)
        valid = Signal()
        with m.If(free):
            m.d.sync += valid.eq(fire)
        with m.If(zero & free):
            m.d.sync += chosen.word.eq(0)
        with m.Elif(fire):
            m.d.sync += chosen.word.eq(first_word)
        with m.If(fire):
            m.d.sync += [
                chosen.kind.eq(tile.kind), chosen.sub.eq(tile.sub), chosen.features.eq(tile.features),
                chosen.slot.eq(place[:slot_bits]), chosen.step.eq(step),
                chosen.other.eq(other_word),
            ]
        m.d.comb += [
            self.load.valid.eq(valid & free), self.load.left.eq(chosen.kind == TileKind.KEYS),
            self.load.halves.eq(chosen.kind == TileKind.STREAM), self.load.step.eq(chosen.step),
        ]
        if slots == 1:
            m.d.comb += self.load.lower.eq(chosen.other)
        else:
            # Slots of a pair are neighbours, the first one even.
            self._select(m, chosen.slot >> 1, self.load.lower, chosen.other >> 8 * config.weight_slot_bytes,
                         2 * config.weight_slot_bytes, slots // 2)
        column = Signal(self.load.column.shape())
        with m.Switch(chosen.kind):
            with m.Case(TileKind.KEYS):
                self._select(m, chosen.sub, column, chosen.word, config.rows, config.k_tiles_per_panel)
            with m.Case(TileKind.VALUES):
                self._select(m, chosen.sub, self.load.row, chosen.word, config.cols, config.tiles_per_panel)
            with m.Default():
                self._select(m, chosen.slot, self.load.row, chosen.word, config.weight_slot_bytes, slots)
        if config.four_bit:
            self._expand(m, free, word, chosen)
        if config.circulant:
            column = self._turn(m, fire, chosen, column)
        for r in range(config.rows):
            m.d.comb += self.load.column[r].eq(Mux(r < chosen.features, column[r], 0))

        done = Signal()
        token = Signal(isa.SEMAPHORE_BITS, reset_less=True)
        m.d.sync += [done.eq(fire & last), token.eq(tile.token)]
        m.d.comb += [self.w_signal.valid.eq(done), self.w_signal.id.eq(token)]
        return m

    def _expand(self, m, free, word, chosen):
        """Takes words of scales, and puts the decompressor's rows in the place of the chosen words' bytes."""
        tile, config = self.tiles.payload, self.config
        m.submodules.decompressor = decompressor = FourBitDecompressor(config)
        number = Signal.like(tile.scale, reset_less=True)
        four_bit, split = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(free):
            m.d.sync += [number.eq(tile.scale), four_bit.eq(tile.four_bit), split.eq(tile.split)]
        take = self.tiles.valid & tile.scales & self.lines.valid & free
        m.d.comb += [
            decompressor.scales.eq(word), decompressor.take.eq(take),
            decompressor.number.eq(number), decompressor.split.eq(split),
        ]
        with m.If(take):
            m.d.comb += [self.tiles.ready.eq(1), self.lines.ready.eq(1)]
        self._select(m, chosen.slot, decompressor.slot, chosen.word, config.weight_slot_bytes, config.weight_rows_per_word)
        with m.If(four_bit):
            m.d.comb += [self.load.row.eq(decompressor.row), self.load.lower.eq(decompressor.lower)]

    def _turn(self, m, fire, chosen, column):
        """The chosen column, or of circulant weights what a word makes of it."""
        m.submodules.circulant = circulant = CirculantColumns(self.config)
        m.d.comb += [circulant.word.eq(column), circulant.step.eq(chosen.step)]
        for name in circulant_members(self.config):
            kept = Signal.like(getattr(circulant, name), name=name, reset_less=True)
            with m.If(fire):
                m.d.sync += kept.eq(getattr(self.tiles.payload, name))
            m.d.comb += getattr(circulant, name).eq(kept)
        turned = Signal.like(column, name="turned")
        m.d.comb += turned.eq(Mux(circulant.block.any(), circulant.result, column))
        return turned

    def _indices(self, m, free, fire, last, step):
        """Takes lines of indices: whether one is taken, and whether one is due before the next step."""
        tile, config = self.tiles.payload, self.config
        m.submodules.places = places = WeightPlaces(config)
        kept, due, take, sparse = Signal(), Signal(), Signal(), Signal(reset_less=True)
        m.d.comb += [
            due.eq(self.tiles.valid & tile.sparse & ~kept), take.eq(due & self.lines.valid & free),
            places.line.eq(self.lines.payload), places.take.eq(take),
        ]
        within = step[:(config.sparse_index_steps - 1).bit_length()]
        with m.If(take):
            m.d.sync += kept.eq(1)
        with m.Elif(fire & (last | within.all())):
            m.d.sync += kept.eq(0)
        # The places of a step go to the array in the cycle after it.
        number = Signal(range(config.weight_steps), reset_less=True)
        with m.If(free):
            m.d.sync += [number.eq(step), sparse.eq(tile.sparse)]
        m.d.comb += places.step.eq(number)
        with m.If(sparse):
            m.d.comb += [self.load.row_places.eq(places.row), self.load.lower_places.eq(places.lower)]
        return take, due

    @staticmethod
    def _select(m, number, target, word, pitch_bytes, count):
        """Bytes from ``number * pitch_bytes`` on, for the numbers below `count`."""
        bytes_wanted = len(Value.cast(target)) // 8

        def part(position):
            return word[8 * position * pitch_bytes:][:8 * bytes_wanted]

        if count == 1:
            m.d.comb += target.eq(part(0))
        else:
            with m.Switch(number):
                for position in range(count):
                    with m.Case(position):
                        m.d.comb += target.eq(part(position))
