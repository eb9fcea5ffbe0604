"""What follows from the parameters of a configuration: layouts, sizes of memories, cycles of a tile."""

from functools import cached_property
from itertools import zip_longest
from math import ceil, gcd

from .isa import SPARSE_PANELS, WeightFormat

__all__ = ["DIVISION_CYCLES", "SPARSITIES", "DerivedSizes", "power_of_two_at_least"]

#: Cycles that one divider takes for the sum of a softmax row.
DIVISION_CYCLES = 9
#: Values of `Config.sparsity`, and the formats that come with them.
SPARSITIES = {"2:4": (WeightFormat.SPARSE_2_4,), "1:4": (WeightFormat.SPARSE_2_4, WeightFormat.SPARSE_1_4)}


def power_of_two_at_least(n):
    """The smallest power of two that is at least ``n``."""
    return 1 << (n - 1).bit_length()


class DerivedSizes:
    """Part of `weft.hw.config.Config`: sizes are in elements, KiB or bytes as the names say."""

    # Layout of activations: features are split into panels; a word holds one row's elements of one panel.

    @cached_property
    def panel(self):
        """Features in one panel: the smallest multiple of ``cols`` that is at least ``rows``."""
        return self.cols * ceil(self.rows / self.cols)

    @cached_property
    def word_bytes(self):
        """Bytes of one scratchpad word: one int8 panel of one row, rounded up to a power of two (W)."""
        return power_of_two_at_least(self.panel)

    @cached_property
    def line_bytes(self):
        """Bytes of one scratchpad line, two words: one int16 panel of one row, and the width of every port."""
        return 2 * self.word_bytes

    @cached_property
    def lane_bytes(self):
        """Bytes of a scratchpad line that are always written together: lanes of the vector engine, beats of the bus."""
        return gcd(self.vector_lanes, self.data_bytes, self.word_bytes)

    @cached_property
    def k_tiles_per_panel(self):
        """K tiles (``rows`` features each, the last one perhaps fewer) in a panel."""
        return ceil(self.panel / self.rows)

    @cached_property
    def tiles_per_panel(self):
        """N tiles (``cols`` features each, always full) in a panel."""
        return self.panel // self.cols

    @cached_property
    def constant_channels(self):
        """Whether the records of REQUANT may make channels constant: where others of a panel have weights and an N tile has not."""
        return self.tiles_per_panel > 1

    # Layout of streamed weights: the tile's rows, each in a slot of a power of two. Upper and lower half of the array
    # load at the same time, so their rows take turns.

    @cached_property
    def weight_slot_bytes(self):
        """Bytes of one row of a weight tile in memory: ``cols`` rounded up to a power of two."""
        return power_of_two_at_least(self.cols)

    @cached_property
    def weight_rows_per_word(self):
        return self.word_bytes // self.weight_slot_bytes

    @cached_property
    def weight_tile_words(self):
        """Scratchpad words of one streamed weight tile."""
        return ceil(self.rows / self.weight_rows_per_word)

    @cached_property
    def weight_steps(self):
        """Cycles in which a streamed weight tile loads, two rows in each (of an odd number the last one alone)."""
        return ceil(self.rows / 2)

    @cached_property
    def weight_row_order(self):
        """The row of a streamed weight tile in each slot: of the upper half (``weight_steps`` rows) and of the lower half in
        turns, each from its last row up."""
        upper = range(self.weight_steps - 1, -1, -1)
        lower = range(self.rows - 1, self.weight_steps - 1, -1)
        return tuple(row for pair in zip_longest(upper, lower) for row in pair if row is not None)

    # Compressed weights.

    @cached_property
    def weight_formats(self):
        """Formats of streamed weights it takes: tuple of `isa.WeightFormat`, int8 among them."""
        return (WeightFormat.INT8, *((WeightFormat.FOUR_BIT,) if self.four_bit else ()), *SPARSITIES.get(self.sparsity, ()))

    @cached_property
    def compressed_weights(self):
        """Whether it takes other streamed weights than int8."""
        return len(self.weight_formats) > 1

    # Layout of 4-bit weights: two rows, one of each half of the array, share a slot; a row of scales takes half a slot.

    @cached_property
    def four_bit_tile_words(self):
        """Scratchpad words of one streamed tile of 4-bit weights, without scales."""
        return ceil(self.weight_steps / self.weight_rows_per_word)

    @cached_property
    def scale_rows_per_word(self):
        """Rows of ``cols`` scales of 4-bit weights in one word."""
        return 2 * self.weight_rows_per_word

    # Layout of sparse weights: an even number of lines, each of indices serving up to four of values behind it.

    @cached_property
    def sparse_panels(self):
        """Panels of K that a tile of sparse weights covers at most; 1 without `sparsity`."""
        return max(SPARSE_PANELS.get(number, 1) for number in self.weight_formats)

    @cached_property
    def activation_lanes(self):
        """Activations that come to each pair of the array's rows, with `sparsity`: a block for both, or one for each; else 0."""
        return {None: 0, "2:4": 4, "1:4": 8}[self.sparsity]

    @cached_property
    def sparse_index_steps(self):
        """Steps of a tile, of two rows each, that a line of indices serves."""
        return 4 * self.weight_rows_per_word

    @cached_property
    def sparse_index_lines(self):
        """Lines of indices in a tile of sparse weights."""
        return ceil(self.weight_steps / self.sparse_index_steps)

    def load_steps(self, w_format):
        """Cycles in which a streamed tile of a `WeightFormat` loads; of 4-bit weights scales come besides."""
        return self.weight_steps + (self.sparse_index_lines if w_format in SPARSE_PANELS else 0)

    def product_steps(self, mnemonic, w_format=WeightFormat.INT8):
        """Cycles in which the stationary tile of a product loads: MATMUL (as `load_steps`), MATMUL_KT, MATMUL_V or MATMUL_C."""
        return self.load_steps(w_format) if mnemonic == "MATMUL" else self.rows if mnemonic == "MATMUL_V" else self.cols

    @cached_property
    def sparse_tile_words(self):
        """Scratchpad words of one streamed tile of sparse weights, values and indices."""
        return 2 * (ceil(self.weight_tile_words / 2) + self.sparse_index_lines)

    # Memories.

    @cached_property
    def scratchpad_words(self):
        return self.scratchpad_kib * 1024 // self.word_bytes

    @cached_property
    def accumulator_word_bytes(self):
        """Bytes of storage of one accumulator word (``cols`` int32 lanes, the slot a power of two)."""
        return 4 * power_of_two_at_least(self.cols)

    @cached_property
    def accumulator_words(self):
        return self.accumulator_kib * 1024 // self.accumulator_word_bytes

    # Vector engine.

    @property
    def softmax_lanes_needed(self):
        """Exponentials per cycle that hide behind the array, twice over, in attention with heads of 32 features.

        A score is 2 * 32 products, rows * cols of them a cycle.
        """
        return ceil(2 * self.rows * self.cols / (2 * 32))

    @property
    def norm_lanes_needed(self):
        """First products per cycle with which statistics cost at most 0.3 % of a layer more than with ``vector_lanes``.

        A layer of D features computes 12 * D * D products and two norms for each row, and nothing hides statistics: they wait
        for the last product before, and the next one for them. D = 384.
        """
        per_row = 0.003 * 12 * 384 * 384 / (self.rows * self.cols) / 2      # cycles that a norm may lose
        return ceil(1 / (1 / self.vector_lanes + per_row / 384))

    @property
    def division_units_needed(self):
        """Dividers that hide behind the array in attention over 64 keys with heads of 32 features, the shortest rows in view.

        Scores and context of a row are products with so many tiles, a cycle each. Of these the row's result takes the vector
        engine some for its requantization, and one more its start-up for two instructions of 64 rows; the division of the next rows
        has what is left, or as long as exponentials take where that is more.
        """
        keys, features = 64, 32
        products = ceil(keys / self.cols) * ceil(features / self.rows) + ceil(keys / self.rows) * ceil(features / self.cols)
        left = products - ceil(features / self.cols) * self.groups_per_tile - 1
        return ceil(DIVISION_CYCLES / max(left, keys // self.softmax_lanes, 1))

    @cached_property
    def groups_per_tile(self):
        """Groups of ``vector_lanes`` channels in an N tile."""
        return self.cols // self.vector_lanes

    @cached_property
    def product_parts(self):
        """Cycles of a group's products before requantization."""
        return self.vector_lanes // self.norm_lanes

    @cached_property
    def exponential_parts(self):
        """Cycles of a group's exponentials."""
        return self.vector_lanes // self.softmax_lanes

    @cached_property
    def softmax_ring(self):
        """Groups of scores that wait for their exponentials at most: two blocks, and what is between issue and the first one."""
        return 1 << (2 * (self.key_block // self.vector_lanes) + 15).bit_length()

    @cached_property
    def param_group_words(self):
        """Words of the parameter records (8 bytes each) of one group of lanes, rounded up to whole lines."""
        return 2 * ceil(8 * self.vector_lanes / self.line_bytes)

    @cached_property
    def param_tile_words(self):
        """Words of the parameter records of one N tile."""
        return self.param_group_words * self.groups_per_tile

    @cached_property
    def mask_slot_bits(self):
        """Bits of a mask row that one tile of ``cols`` keys takes (a power of two)."""
        return power_of_two_at_least(self.cols)

    @cached_property
    def mask_tiles_per_word(self):
        return 8 * self.word_bytes // self.mask_slot_bits

    # Memory traffic.

    @cached_property
    def dma_bytes(self):
        """Granule of every DMA run and address: the larger of a word and a beat."""
        return max(self.word_bytes, self.data_bytes)

    @cached_property
    def dma_words(self):
        return self.dma_bytes // self.word_bytes

    @cached_property
    def fetch_ahead_bytes(self):
        """Bytes that instruction fetch reads ahead of the instruction at hand: 32 instructions, at least 16 beats."""
        return max(1024, 16 * self.data_bytes)
