"""Waits for banks of sums, against a walk through every cycle."""

from hypothesis import given
from hypothesis import strategies as st

from weft.hw.config import Config
from weft.performance.banks import SumBanks

CONFIG = Config.named("tiny")
DEPTH = CONFIG.accumulator_words // CONFIG.accumulator_banks
#: Around the border of two banks.
WORDS = st.integers(DEPTH - 20, DEPTH + 20)


@st.composite
def products(draw):
    """Up to three products one behind the other: ``(fields, start, pace)``."""
    made, start = [], 0
    for _ in range(draw(st.integers(0, 3))):
        f = dict(rows=draw(st.integers(1, 20)), k_tiles=draw(st.integers(1, 3)), n_tiles=draw(st.integers(1, 3)),
                 k_outer=draw(st.integers(0, 1)), acc_base=draw(WORDS), acc_stride=draw(st.integers(0, 40)),
                 accumulate=draw(st.integers(0, 1)))
        start, pace = start + draw(st.integers(0, 30)), f["rows"] + draw(st.integers(0, 6))
        made.append((f, start, pace))
        start += f["k_tiles"] * f["n_tiles"] * pace
    return made


def reads_of_the_array(made):
    """``{cycle: bank}``."""
    found = {}
    for f, cycle, pace in made:
        k_tiles, n_tiles = range(f["k_tiles"]), range(f["n_tiles"])
        for k, n in ([(k, n) for k in k_tiles for n in n_tiles] if f["k_outer"] else [(k, n) for n in n_tiles for k in k_tiles]):
            if k or f["accumulate"]:
                for row in range(f["rows"]):
                    found[cycle + row] = (f["acc_base"] + n * f["acc_stride"] + row) // DEPTH
            cycle += pace
    return found


@given(products(), WORDS, st.integers(0, 40), st.integers(1, 60), st.integers(1, 4), st.integers(0, 200))
def test_reads_wait_for_the_array(made, word, stride, count, pace, begin):
    banks, array = SumBanks(CONFIG), reads_of_the_array(made)
    for product in made:
        banks.product(*product)
    cycle, waited = begin, 0
    for number in range(count):
        while array.get(cycle) == (word + number * stride) // DEPTH:
            cycle, waited = cycle + 1, waited + 1
        cycle += pace
    assert banks.busy(begin, begin + count * pace, word, word + (count - 1) * stride) or not waited
    assert banks.read(begin, word, stride, count, pace) == cycle
