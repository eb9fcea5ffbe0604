"""Configurations with random lanes."""

from weft.hw.config import Config
from weft.sim.fuzz.campaign import with_random_lanes


def test_every_part_of_the_vector_engine_is_drawn():
    config = Config(rows=8, cols=12)
    drawn = [with_random_lanes(config, seed) for seed in range(60)]
    assert with_random_lanes(config, 7) == with_random_lanes(config, 7)
    assert {c.vector_lanes for c in drawn} == {1, 2, 3, 4, 6, 12}
    assert any(c.softmax_lanes < c.norm_lanes < c.vector_lanes for c in drawn)
    assert any(c.norm_lanes < c.softmax_lanes < c.vector_lanes for c in drawn)
    assert {c.division_units for c in drawn} == set(range(1, 10))
