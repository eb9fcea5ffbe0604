"""Every 4-bit value times every scale; and a weight loader without the option, which has no decompressor."""

import numpy as np
from amaranth.sim import Simulator

from weft.hw.config import Config
from weft.hw.tensor.decompressor import FourBitDecompressor
from weft.hw.tensor.loader import WeightLoader
from weft.hw.verilog import convert

CONFIG = Config(rows=12, cols=5, four_bit=True)


def nibbles(rows, row_bits):
    """Rows of 4-bit numbers as one integer."""
    return sum((int(number) & 15) << (row * row_bits + 4 * place)
               for row, numbers in enumerate(rows) for place, number in enumerate(numbers))


def test_every_product():
    dut, rng = FourBitDecompressor(CONFIG), np.random.default_rng(0)
    row_bits, cols = 4 * CONFIG.weight_slot_bytes, CONFIG.cols
    values = np.arange(-8, 8)[:, None] + np.zeros((16, 16), int)

    async def bench(ctx):
        # All pairs, cols at a time, in the upper and the lower half.
        pairs = np.stack([values, np.arange(16) + np.zeros((16, 16), int)], axis=-1).reshape(-1, 2)
        pairs = np.concatenate([pairs, pairs[:-len(pairs) % cols]]).reshape(-1, cols, 2)
        for upper, lower in zip(pairs, pairs[::-1]):
            for split in (0, 1):
                scales = rng.integers(0, 16, (CONFIG.scale_rows_per_word, cols))
                number = int(rng.integers(CONFIG.scale_rows_per_word)) & ~split
                scales[number] = upper[:, 1]
                if split:
                    scales[number + 1] = lower[:, 1]
                ctx.set(dut.scales, nibbles(scales, row_bits))
                ctx.set(dut.take, 1)
                await ctx.tick()
                # The kept scales stay.
                ctx.set(dut.scales, 0)
                ctx.set(dut.take, 0)
                await ctx.tick()
                ctx.set(dut.number, number)
                ctx.set(dut.split, split)
                ctx.set(dut.slot, nibbles([upper[:, 0], lower[:, 0]], row_bits))
                of_lower = lower[:, 1] if split else upper[:, 1]
                assert [ctx.get(dut.row[c]) for c in range(cols)] == (upper[:, 0] * upper[:, 1]).tolist()
                assert [ctx.get(dut.lower[c]) for c in range(cols)] == (lower[:, 0] * of_lower).tolist()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_only_with_the_option():
    for four_bit in (False, True):
        text = convert(WeightLoader(Config(rows=4, cols=4, four_bit=four_bit)), "loader")
        assert ("decompressor" in text) == four_bit
