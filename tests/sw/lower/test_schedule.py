"""Which loads move where."""

from weft.hw.config import Config
from weft.hw.isa import Element
from weft.lower.builder import Builder
from weft.lower.events import Space
from weft.lower.schedule import Estimate, advance_loads
from weft.lower.tensors import View

SIZES = {Space.SCRATCHPAD: 4096, Space.ACCUMULATORS: 512, Space.STATE: 64, Space.MEMORY: 64}


def test_weights_move_in_front_of_a_load_that_still_waits_but_not_of_one_that_could_start():
    b = Builder(Config.named("tiny"))
    b.store(0, 0, 4)
    b.load(0, 8, 4)
    b.load(64, 16, 4, tracked=False)
    store, stored, weights = b.items
    assert advance_loads(b.items, SIZES) == [weights, store, stored]
    for ready, order in ((90, [store, stored, weights]), (110, [weights, store, stored])):
        estimate = Estimate({id(weights): 100}, {id(stored): ready}, [])
        assert advance_loads(b.items, SIZES, estimate) == order


def test_nothing_moves_in_front_of_the_gather():
    b = Builder(Config.named("tiny"))
    b.index(0, 1)
    b.gather(0, 16, View(0, 4, 1, Element.INT16, 2), 0, 0, 1)
    b.store(64, 0, 4)
    b.load(64, 8, 4)
    b.load(64, 16, 4, tracked=False)
    index, gather, store, stored, weights = b.items
    assert advance_loads(b.items, SIZES) == [index, gather, weights, store, stored]
