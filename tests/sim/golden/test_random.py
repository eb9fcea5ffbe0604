"""Random programs: the golden model against the slow reference, which takes its threads' turns at random."""

import itertools

import numpy as np
import pytest

from weft.hw.config import Config
from weft.sim.fuzz import random_image
from weft.sim.golden import GoldenMachine

CONFIGS = {
    "tiny": dict(rows=4, cols=4), "small": dict(rows=8, cols=8), "lanes": dict(rows=8, cols=4, vector_lanes=2),
    "wide": dict(rows=4, cols=12, vector_lanes=4), "odd": dict(rows=12, cols=5, data_bytes=32, vector_lanes=1),
    "narrow bus": dict(rows=5, cols=16, data_bytes=4), "8x12": dict(rows=8, cols=12),
    "circulant": dict(rows=4, cols=4, circulant=(4,)), "circulant wide": dict(rows=8, cols=16, circulant=(4, 8)),
    "1:4": dict(rows=4, cols=4, sparsity="1:4"), "2:4 odd": dict(rows=12, cols=6, four_bit=True, sparsity="2:4"),
    "four_bit": dict(rows=4, cols=4, four_bit=True), "four_bit odd": dict(rows=5, cols=7, data_bytes=16, four_bit=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_reference(name, reference):
    config = Config(**CONFIGS[name])
    for seed in range(12):
        image, inputs = random_image(config, seed)
        golden = GoldenMachine(image).run(inputs)
        slow = reference(image, inputs, seed)
        slow.run()
        unit = config.dma_bytes
        assert [a for _, m, data in slow.log for a in range(m, m + len(data), unit)] == golden.store_log.addresses.tolist()
        assert b"".join(data for *_, data in slow.log) == golden.store_log.data.tobytes(), (name, seed)
        pcs = [pc for pc, _, data in slow.log for _ in range(len(data) // unit)]
        assert pcs == golden.store_log.pcs.tolist()
        for buffer in image.buffers:
            assert bytes(slow.memory[buffer.offset:buffer.offset + buffer.bytes]) == golden.buffers[buffer.name].tobytes()


@pytest.mark.parametrize("seed", range(6))
def test_batch_equals_single_runs(seed):
    config = Config.named("tiny")
    # Programs of constants alone have no batch.
    image, inputs = next(drawn for drawn in (random_image(config, n) for n in itertools.count(seed, 100)) if drawn[1])
    rng = np.random.default_rng(seed)
    batch = {n: np.stack([d, *(rng.integers(0, 256, d.shape, np.uint8) if n.startswith("values") else d
                               for _ in range(2))]) for n, d in inputs.items()}
    machine = GoldenMachine(image)
    together = machine.run(batch)
    for item in range(3):
        alone = machine.run({n: d[item] for n, d in batch.items()})
        assert np.array_equal(alone.store_log.data, together.store_log.item(item).data)
        for name, data in alone.outputs.items():
            assert np.array_equal(data, together.outputs[name][item])
