"""Area beside gain of the lanes; synthesis itself takes minutes and is replaced."""

import pytest

from weft import workloads
from weft.bench import lanes
from weft.hw.config import Config


class Netlist:
    """A netlist in which a part's area is the length of its path."""

    def area(self, name):
        return len(name)

    def child(self, top, path):
        return f"{top}/{path}"


def test_choices_are_possible():
    for config in Config.named("base"), Config.named("tiny"), Config(rows=5, cols=7):
        choices = lanes._choices(config, None)
        assert choices[0] == (config.vector_lanes, config.softmax_lanes, config.norm_lanes)
        assert len(choices) == len(set(choices))
        for vector, softmax, norm in choices:
            Config(rows=config.rows, cols=config.cols, vector_lanes=vector, softmax_lanes=softmax, norm_lanes=norm)
    assert lanes._choices(Config.named("base"), None) == [(16, 8, 16), (16, 16, 16), (16, 4, 16), (16, 8, 8), (8, 8, 8)]
    assert lanes._choices(Config.named("base"), ["8,4,2"]) == [(8, 4, 2)]


def test_a_row(monkeypatch, tmp_path):
    monkeypatch.setattr(lanes, "map_component", lambda text, top, *_: (Netlist(), None, None))
    monkeypatch.setattr(lanes, "convert", lambda *_: "")
    monkeypatch.setattr(lanes, "VectorEngine", lambda config: None)
    monkeypatch.setattr(lanes, "WORKS", {"product": lambda config: workloads.gemm(8, 8, 8, config)[0]})
    config = Config.named("tiny")
    row = lanes.measure(config, (4, 1, 2), 1000, "library", tmp_path, 1.6)
    assert row["default"] and row["lanes"] == [4, 1, 2] and row["areas"]["array"] == 1000
    assert row["areas"]["softmax"] == len("vector/softmax")
    cycles = workloads.gemm(8, 8, 8, config)[0].predicted_cycles
    assert row["utilization"] == {"product": pytest.approx(8 * 8 * 8 / (16 * cycles), abs=1e-4)}
    assert not lanes.measure(config, (2, 1, 2), 1000, "library", tmp_path, 1.6)["default"]
