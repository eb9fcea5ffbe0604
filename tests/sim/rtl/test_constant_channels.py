"""Random programs where several N tiles fill a panel: constant channels, from accumulators that hold anything, on the RTL."""

import pytest

from weft.hw.config import Config
from weft.sim.compare import run_both
from weft.sim.fuzz import random_image
from weft.sim.golden.events import Recorder

CONFIG = Config(rows=8, cols=4)


@pytest.fixture
def machine(rtl_machine):
    return rtl_machine(CONFIG)


def test_random_programs_are_equal(machine, monkeypatch):
    tiles, unwritten, known = 0, 0, Recorder._constant_tiles

    def count(recorder, operation, records):
        nonlocal tiles, unwritten
        constant = known(recorder, operation, records)
        tiles += constant.sum()
        unwritten += constant.all() and (recorder.accumulators.written[operation.f.src_base] < 0)
        return constant

    monkeypatch.setattr(Recorder, "_constant_tiles", count)
    for seed in range(60):
        image, inputs = random_image(CONFIG, seed)
        run_both(image, inputs, machine, memory="stress" if seed % 2 else "reference", seed=seed, limit_cycles=1_000_000)
    assert tiles > 50 and unwritten > 10
