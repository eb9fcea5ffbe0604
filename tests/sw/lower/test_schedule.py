"""Which loads move where."""

from weft.hw.config import Config
from weft.hw.isa import Element
from weft.lower.builder import Builder
from weft.lower.events import Space
from weft.lower.schedule import LOADS_AHEAD, by_start
from weft.lower.tensors import View

CONFIG = Config.named("tiny")
SIZES = {Space.SCRATCHPAD: 4096, Space.ACCUMULATORS: 512, Space.STATE: 64, Space.MEMORY: 64}


def loads(items):
    return [item for item in by_start(items, SIZES, CONFIG) if item.mnemonic in ("LOAD", "INDEX", "GATHER")]


def test_weights_move_in_front_of_a_load_that_waits_for_a_store():
    b = Builder(CONFIG)
    b.store(0, 0, 4)
    b.load(0, 8, 4)
    b.load(64, 16, 4, tracked=False)
    store, stored, weights = b.items
    assert loads(b.items) == [weights, stored]


def test_of_loads_that_could_start_the_first_emitted_goes_first():
    b = Builder(CONFIG)
    b.store(0, 0, 4)
    b.load(0, 8, 4)
    for number in range(20):
        b.load(64, 16 + 100 * number, 100, tracked=False)
    store, stored, *weights = b.items
    order = loads(b.items)
    assert 0 < order.index(stored) < len(weights), "neither at once nor behind all weights"
    assert [item for item in order if item is not stored] == weights


def test_loads_move_only_so_far():
    b = Builder(CONFIG)
    b.store(0, 1000, 60)
    b.load(0, 8, 4)
    for number in range(LOADS_AHEAD + 5):
        b.load(64, 16 + number, 1, tracked=False)
    assert loads(b.items).index(b.items[1]) == LOADS_AHEAD - 1


def test_a_load_waits_for_the_readers_of_what_it_overwrites():
    b = Builder(CONFIG)
    view = View(16, 4, 1, Element.INT8, 1)
    b.load(0, 16, 4, tracked=False)
    b.requant(view, 0, 0, View(64, 4, 1, Element.INT8, 1), 0, 0, 1, 1, 80)
    b.load(64, 16, 4, tracked=False)
    first, reader, second = b.items
    assert by_start(b.items, SIZES, CONFIG) == [first, reader, second]


def test_a_load_follows_all_loads_whose_words_it_overwrites():
    """Also those that nobody reads, and not the last one alone."""
    b = Builder(CONFIG)
    b.store(0, 100, 60)
    b.load(0, 16, 4)                            # waits for the store
    b.load(64, 20, 4, tracked=False)
    b.load(128, 18, 4, tracked=False)           # over words of both
    store, waits, other, both = b.items
    assert loads(b.items) == [other, waits, both]


def test_gathers_keep_their_order_and_come_first():
    b = Builder(CONFIG)
    for table in (0, 1):
        b.index(table, 1)
        b.gather(0, 16, View(8 * table, 4, 1, Element.INT16, 2), 0, 0, 1)
    b.store(64, 0, 4)
    b.load(64, 32, 4)
    b.load(64, 40, 4, tracked=False)
    *gathers, _, stored, weights = b.items
    assert loads(b.items) == [*gathers, weights, stored]
