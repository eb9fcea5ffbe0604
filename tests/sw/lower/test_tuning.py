"""However a lowering is tuned, its program computes the same; the least predicted one is taken."""

from dataclasses import replace
from functools import partial

import pytest
from lowering_graphs import GraphMaker, golden_outputs, random_inputs

from weft.hw.config import Config
from weft.lower import lowering
from weft.lower.split import by_turns, growing, shrinking, split
from weft.lower.tuning import Tuning, best

TUNINGS = [Tuning(), Tuning(first_panels=1, product_cycles=64, edge_rows=8, end_rows=8),
           Tuning(edge_rows=16, strips=3, query_rows=8), Tuning(end_rows=4, query_rows=16),
           Tuning(first_panels=2, products=16, strips=4, edge_rows=8, edges=True), Tuning(strips=1)]


def attention(config, causal):
    """Attention of what the host writes, for the host to read."""
    m = GraphMaker(5)
    made = m.output(m.attention(*(m.input(72, 48) for _ in range(3)), heads=2, causal=causal, block=config.key_block))
    made.ops[-1] = replace(made.ops[-1], score_mult=16 * made.ops[-1].score_mult)       # rows whose maximum grows
    return made


def graph(config):
    m = GraphMaker(3)
    x = m.input(34, 40)
    y = m.linear(x, 24, "int16")
    small, wide = m.norm(y)
    z = m.linear(m.linear(small, 50, table=True), 24, "int16", residual=wide)
    a = m.attention(*(m.linear(x, 16) for _ in range(3)), heads=2, causal=True,
                    block=config.key_block)
    return m.output(m.linear(m.norm(z, two=False), 30), m.linear(a, 10), m.linear(x, 20))


@pytest.mark.parametrize("shape", [dict(rows=4, cols=4), dict(rows=5, cols=7), dict(rows=8, cols=4, data_bytes=16),
                                   dict(rows=4, cols=4, accumulator_kib=64, state_rows=256), dict(rows=16, cols=16)])
@pytest.mark.parametrize("graph", [graph, partial(attention, causal=False), partial(attention, causal=True)])
def test_every_tuning_computes_the_same(monkeypatch, shape, graph):
    config, programs = Config(**shape), set()
    inputs = random_inputs(graph(config))
    wanted = None
    for tuning in TUNINGS:
        monkeypatch.setattr(lowering, "best", lambda attempt, tuning=tuning: attempt(tuning)[2])
        lowered = lowering.lower(graph(config), config)
        programs.add(lowered.image.code.tobytes())
        found = {name: values.tolist() for name, values in golden_outputs(lowered, inputs).items()}
        assert wanted is None or found == wanted
        wanted = found
    assert len(programs) > 2, "tunings that change nothing test nothing"


def test_the_least_is_taken_and_trials_end():
    tried = []

    def attempt(tuning):
        tried.append(tuning)
        return abs(tuning.strips - 3) + tuning.first_panels, 10, tuning

    assert best(attempt) == Tuning(first_panels=1, product_cycles=128, strips=3, edge_rows=16, end_rows=16)
    assert len(tried) == len(set(tried)) > 8
    tried.clear()

    def large(tuning):
        tried.append(tuning)
        return 1, 10**6, tuning

    best(large)
    assert len(tried) == 2


def test_of_equal_cycles_the_fewer_instructions_are_taken():
    def attempt(tuning):
        return 1, 10 + abs(tuning.end_rows - 8), tuning

    assert best(attempt).end_rows == 8


@pytest.mark.parametrize("rows, last", [(64, 8), (62, 8), (10, 8), (8, 8), (6, 8), (500, 16)])
def test_pieces_of_rows_cover_them(rows, last):
    for granule in (1, 2):
        for pieces in (shrinking(rows, last, granule), growing(rows, last)):
            assert [start for start, _ in pieces] + [rows] == [0] + [stop for _, stop in pieces]
            assert all(start < stop for start, stop in pieces)
        assert all((rows - start) % granule == 0 for start, _ in shrinking(rows, last, granule)[1:])


@pytest.mark.parametrize("rows, row, columns, column", [
    (64, 16, 4, 1), (64, 16, 2, 1), (16, 16, 5, 2), (40, 16, 7, 3), (8, 8, 1, 1)])
def test_pieces_that_come_by_turns_meet_once(rows, row, columns, column):
    """Each row meets each column once, in a block of what has come by then, of which one piece is new."""
    met, there = set(), (0, 0)
    for m0, m1, t0, t1 in by_turns(split(rows, row), split(columns, column)):
        block = {(m, t) for m in range(m0, m1) for t in range(t0, t1)}
        assert block and not block & met
        assert (m0 == 0 and t0 == there[1] and m1 == max(there[0], row if not met else 0)) or (
            t0 == 0 and m0 == there[0] and t1 == there[1])
        met |= block
        there = max(there[0], m1), max(there[1], t1)
    assert len(met) == rows * columns
