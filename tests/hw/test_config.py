"""Configurations: defaults, derived sizes, files, and one sentence for each that cannot be built."""

import json

import pytest
from hypothesis import given, strategies as st

from weft.hw.config import DIVISION_CYCLES, NAMED, Config
from weft.hw.errors import ConfigError


@pytest.mark.parametrize("name, shape, scratchpad, accumulators", [
    ("tiny", (4, 4), 16, 8), ("small", (8, 8), 64, 32), ("base", (16, 16), 256, 128), ("large", (32, 32), 512, 256)])
def test_named(name, shape, scratchpad, accumulators):
    config = Config.named(name)
    assert (config.rows, config.cols) == shape and config.name == name
    assert (config.scratchpad_kib, config.accumulator_kib) == (scratchpad, accumulators)


@given(st.integers(4, 64), st.integers(4, 64))
def test_every_shape_has_consistent_sizes(rows, cols):
    config = Config(rows=rows, cols=cols)
    assert config.panel >= max(rows, cols) and config.panel % cols == 0
    assert config.panel <= config.word_bytes < 2 * config.panel
    assert (config.k_tiles_per_panel - 1) * rows < config.panel <= config.k_tiles_per_panel * rows
    assert config.weight_tile_words * config.word_bytes >= rows * config.weight_slot_bytes
    assert config.param_group_words % 2 == 0
    assert config.param_group_words * config.word_bytes >= 8 * config.vector_lanes
    assert config.data_bytes >= cols


def test_options_that_are_off_leave_the_identity():
    assert Config.named("tiny").fingerprint == 0x22511393
    with_option = Config(**NAMED["tiny"], four_bit=True)
    assert with_option.name == "tiny four_bit" and with_option.fingerprint != Config.named("tiny").fingerprint
    assert Config(rows=5, cols=7, four_bit=True).name == "5x7 four_bit"
    circulant = Config(**NAMED["base"], circulant=[16, 4, 8, 8])
    assert circulant.name == "base circulant=4,8,16" and circulant.circulant == (4, 8, 16)
    assert Config.from_dict(circulant.to_dict()) == circulant and hash(circulant)
    sparse = Config(**NAMED["tiny"], sparsity="1:4")
    assert sparse.name == "tiny sparsity=1:4" and Config.from_dict(sparse.to_dict()) == sparse
    assert "sparsity" not in Config.named("tiny").to_dict()


def test_lanes_of_the_named_configurations():
    lanes = {name: (c.vector_lanes, c.softmax_lanes, c.norm_lanes) for name in NAMED for c in [Config.named(name)]}
    assert lanes == {"tiny": (4, 1, 2), "small": (8, 2, 8), "base": (16, 8, 16), "large": (32, 32, 32)}
    assert {name: Config.named(name).division_units for name in NAMED} == {"tiny": 1, "small": 1, "base": 1, "large": 5}


@given(st.integers(4, 64), st.integers(4, 64), st.integers(1, 64))
def test_dividers_are_as_many_as_needed(rows, cols, divisor):
    """Sums of 64 keys are divided while the array computes the next rows, or while their exponentials are computed; one
    divider less would take longer than both."""
    config = Config(rows=rows, cols=cols, vector_lanes=max(1, cols // divisor) if cols % divisor == 0 else cols)
    products = -(-64 // cols) * -(-32 // rows) + -(-64 // rows) * -(-32 // cols)
    time = max(products - -(-32 // cols) * config.groups_per_tile - 1, 64 // config.softmax_lanes, 1)
    assert DIVISION_CYCLES <= config.division_units * time < DIVISION_CYCLES + time


@given(st.integers(4, 64), st.integers(4, 64))
def test_lanes_are_as_many_as_needed(rows, cols):
    """Each kind has at least what it needs, or all there are, and no smaller divisor would do."""
    config = Config(rows=rows, cols=cols)
    for lanes, needed in ((config.softmax_lanes, config.softmax_lanes_needed), (config.norm_lanes, config.norm_lanes_needed)):
        assert config.vector_lanes % lanes == 0 and (lanes >= needed or lanes == config.vector_lanes)
        assert all(d < needed for d in range(1, lanes) if config.vector_lanes % d == 0)


@given(st.integers(4, 64), st.integers(4, 64))
def test_dictionary_round_trip_keeps_the_fingerprint(rows, cols):
    config = Config(rows=rows, cols=cols)
    assert Config.from_dict(config.to_dict()).fingerprint == config.fingerprint


@pytest.mark.parametrize("values, message", [
    (dict(rows=3, cols=8), "rows must be from 4 to 64, not 3"),
    (dict(rows=8, cols=65), "cols must be from 4 to 64, not 65"),
    (dict(rows=8.0, cols=8), "rows must be a whole number, not 8.0"),
    (dict(rows=None, cols=8), "rows must be a whole number, not None"),
    (dict(rows=8, cols=8, four_bit=1), "four_bit must be true or false, not 1"),
    (dict(rows=8, cols=8, circulant=(4, 5)), r"circulant must be a list of block sizes among 4, 8, 16, not \(4, 5\)"),
    (dict(rows=8, cols=8, circulant=4), "circulant must be a list of block sizes among 4, 8, 16, not 4"),
    (dict(rows=8, cols=12, circulant=(4, 8)), r"circulant blocks of 8 do not divide cols \(12\)"),
    (dict(rows=8, cols=8, sparsity="4:8"), "sparsity must be 2:4 or 1:4, not '4:8'"),
    (dict(rows=8, cols=8, sparsity=["2:4"]), r"sparsity must be 2:4 or 1:4, not \['2:4'\]"),
    (dict(rows=8, cols=12, sparsity="2:4"),
     "sparsity=2:4 needs an even number of rows that is a multiple of cols, .*rows=8, cols=12"),
    (dict(rows=5, cols=5, sparsity="1:4"), "not rows=5, cols=5"),
    (dict(rows=8, cols=8, data_bytes=12), "data_bytes must be a power of two from 4 to 16, not 12"),
    (dict(rows=8, cols=8, vector_lanes=3), r"vector_lanes must divide cols \(8\), not 3"),
    (dict(rows=8, cols=8, vector_lanes=0), r"vector_lanes must divide cols \(8\), not 0"),
    (dict(rows=8, cols=12, vector_lanes=6, softmax_lanes=4), r"softmax_lanes must divide vector_lanes \(6\), not 4"),
    (dict(rows=8, cols=8, norm_lanes=0), r"norm_lanes must divide vector_lanes \(8\), not 0"),
    (dict(rows=8, cols=8, division_units=0), "division_units must be from 1 to 9, not 0"),
    (dict(rows=64, cols=64, division_units=10), "division_units must be from 1 to 9, not 10"),
    (dict(rows=8, cols=8, division_units=1.0), "division_units must be a whole number, not 1.0"),
    (dict(rows=8, cols=8, key_block=20), "key_block must be a multiple of 8 up to 1024, not 20"),
    (dict(rows=4, cols=8, key_block=2048), "key_block must be a multiple of 8 up to 1024, not 2048"),
    (dict(rows=4, cols=4, key_block=1024), "key_block must be a multiple of 4 up to 1020, not 1024"),
    (dict(rows=5, cols=4, key_block=1024), "key_block must be a multiple of 8 up to 1016, not 1024"),
    (dict(rows=64, cols=64, scratchpad_kib=8), "scratchpad_kib=8 holds 128 words of 64 bytes"),
    (dict(rows=64, cols=64, accumulator_kib=16), "accumulator_kib=16 holds 64 rows of one tile"),
])
def test_impossible_configurations(values, message):
    with pytest.raises(ConfigError, match=message):
        Config(**values)


def test_files(tmp_path):
    toml, text = tmp_path / "mine.toml", tmp_path / "mine.json"
    toml.write_text("rows = 8\ncols = 12\n")
    text.write_text(json.dumps(Config(rows=8, cols=12).to_dict()))
    assert Config.load(toml) == Config.load(str(text)) == Config(rows=8, cols=12)
    assert Config.load("base") == Config.named("base") and set(NAMED) == {"tiny", "small", "base", "large"}


@pytest.mark.parametrize("name, content, message", [
    ("a.toml", "rows = 8\ncols = ", "a.toml: "),
    ("a.json", "[8, 8]", "must be a table of parameters, not list"),
    ("a.json", '{"rows": 8}', "cols is missing"),
    ("a.json", '{"rows": 8, "cols": 8, "lanes": 2}', "no parameter is named 'lanes'"),
    ("a.toml", "rows = 8\ncols = 80\n", "a.toml: cols must be from 4 to 64, not 80"),
    ("a.json", "[" * 100_000, "a.json: "),
])
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        Config.load(tmp_path / name)


def test_unknown_names(tmp_path):
    with pytest.raises(ConfigError, match="no configuration is named 'huge'"):
        Config.named("huge")
    with pytest.raises(ConfigError, match="missing.toml cannot be read: No such file"):
        Config.load("missing.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="folder.toml cannot be read: Is a directory"):
        Config.load(tmp_path / "folder.toml")
