"""Random programs leave room for what the hardware reads behind them."""

from weft.hw.config import Config
from weft.hw.isa import INSTRUCTION_BYTES
from weft.sim.fuzz.generator import random_image


def test_instruction_fetch_finds_memory_behind_the_end():
    config = Config(rows=12, cols=5, vector_lanes=5, data_bytes=32, softmax_lanes=1, division_units=2)
    for seed in (*range(40), 31351):        # the last one has no buffer behind its code, which ends close to a page's end
        image, _ = random_image(config, seed)
        end = image.code_offset + INSTRUCTION_BYTES * image.instructions
        assert end + config.fetch_ahead_bytes <= image.memory_bytes, seed
