"""Decompressor of streamed weights: what stands between the scratchpad's words and the array's shadow weights."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FourBitDecompressor"]


class FourBitDecompressor(wiring.Component):
    """``row[c] = value[c] * scale[c]``: rows of 4-bit weights as int8, two in a cycle, exactly.

    Values are signed, scales unsigned, so ``-120 <= row[c] <= 105``. Combinational, but for the word of scales, which is
    kept until the next one.

    Parameters
    ----------
    config : Config

    Members
    -------
    scales : In(8 * word_bytes)
        A word of ``scale_rows_per_word`` rows of scales: scale c of a row is bits 4c to 4c + 3 of its half slot.
    take : In(1)
        Keeps ``scales`` from the next cycle on.
    number : In
        Row of the kept scales.
    split : In(1)
        The lower half of the array has the scales of row ``number + 1`` (``number`` is even); else both have the same.
    slot : In(8 * weight_slot_bytes)
        Two rows of values, ``row`` in the lower half of the slot: value c of a row is bits 4c to 4c + 3.
    row, lower : Out(ArrayLayout(signed(8), cols))
        Weights for the upper and the lower half of the array.
    """

    def __init__(self, config):
        self.config = config
        rows = data.ArrayLayout(signed(8), config.cols)
        super().__init__({
            "scales": In(8 * config.word_bytes), "take": In(1),
            "number": In(range(config.scale_rows_per_word)), "split": In(1),
            "slot": In(8 * config.weight_slot_bytes), "row": Out(rows), "lower": Out(rows),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        half_bits = 4 * config.weight_slot_bytes
        kept = Signal(8 * config.word_bytes, reset_less=True)
        with m.If(self.take):
            m.d.sync += kept.eq(self.scales)
        upper_scales, lower_scales = Signal(half_bits), Signal(half_bits)
        m.d.comb += [
            upper_scales.eq(kept.word_select(self.number, half_bits)),
            lower_scales.eq(kept.word_select(self.number | self.split, half_bits)),
        ]
        for c in range(config.cols):
            bits = slice(4 * c, 4 * c + 4)
            m.d.comb += [
                self.row[c].eq(self.slot[:half_bits][bits].as_signed() * upper_scales[bits]),
                self.lower[c].eq(self.slot[half_bits:][bits].as_signed() * lower_scales[bits]),
            ]
        return m
