"""Rows of a causal graph computed at positions, with caches: golden model on the encoded programs equals the graph."""

import numpy as np
import pytest
from lowering_graphs import GraphMaker, with_zeros

from weft.decoder import Steps
from weft.hw.config import Config
from weft.hw.errors import CompileError
from weft.hw.isa import disassemble
from weft.lower import lower, lower_stepped, prepare, tokens
from weft.lower.host import pack_input, unpack_output
from weft.lower.positions import POSITION
from weft.sim.golden import GoldenMachine

LENGTH = 37

CONFIGS = {
    "tiny": Config.named("tiny"),
    "base": Config.named("base"),
    "5x7": Config(rows=5, cols=7),
    "4x16 two lanes": Config(rows=4, cols=16, vector_lanes=2),
    "4x4 wide bus": Config(rows=4, cols=4, data_bytes=8),
    "four_bit": Config(rows=4, cols=4, four_bit=True),
    "circulant": Config(rows=8, cols=8, circulant=(4,)),
    "sparse": Config(rows=4, cols=4, sparsity="1:4"),
}


def causal_graph(config, hidden=20, heads=4, kv_heads=2, seed=1):
    """A decoder of one layer with learned positions, grouped key heads and a table by position in 8 bits."""
    m = GraphMaker(seed)
    form = {"group": 16} if config.four_bit else {"block": 4} if config.circulant else {"kept": 2} if config.sparsity else {}
    ids = m.input(LENGTH, 1, "int32")
    x = m.add(m.embed(ids, hidden), m.constant(LENGTH, hidden))
    n = m.norm(x, two=False)
    q, k, v = m.linear(n, hidden, **form), m.linear(n, hidden * kv_heads // heads), m.linear(n, hidden * kv_heads // heads)
    block = max(config.panel, 16 // config.panel * config.panel)
    a = m.attention(q, k, v, heads, kv_heads, causal=True, block=block)
    x = m.linear(a, hidden, "int16", residual=x)
    m.linear(n, 5)                                  # a result that nobody needs
    last = {"kept": 1} if config.sparsity else form
    return m.output(m.linear(m.norm(x, "rms", two=False), 36 if config.circulant else 33, "int16", **last), x)


class Runner:
    """Runs the two programs of a graph on the golden model; ``caches`` stay between runs."""

    def __init__(self, graph, config, chunk):
        steps = Steps(prepare(graph, config), LENGTH, chunk)
        self.config, self.caches = config, {}
        self.lowered = lower_stepped({"many": steps.versions(chunk, 2 * config.panel),
                                      "few": steps.versions(config.dma_words, 2 * config.panel)}, config)
        self.machines = {name: GoldenMachine(one.image) for name, one in self.lowered.items()}

    def run(self, name, ids, position):
        one = self.lowered[name]
        (given,), (result,) = one.inputs, one.outputs
        rows = np.zeros((given.rows, 1), np.int32)
        rows[:len(ids)] = ids
        done = self.machines[name].run({given.name: pack_input(self.config, given, rows), **self.caches},
                                       {POSITION: position})
        self.caches = {b.name: done.buffers[b.name] for b in one.image.buffers if b.kind == "state"}
        return unpack_output(self.config, result, done.outputs[result.name])[:len(ids)]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_way_through_the_positions_gives_the_rows_of_the_causal_graph(name):
    config = CONFIGS[name]
    graph, unit = causal_graph(config), CONFIGS[name].dma_words
    chunk = 8
    ids = np.random.default_rng(0).integers(0, 50, (LENGTH, 1)).astype(np.int32)
    wanted = graph.run({graph.inputs[0]: ids})[graph.outputs[0].tensor]
    runner = Runner(graph, config, chunk)

    def check(program, start, stop):
        found = runner.run(program, ids[start:stop], start)
        np.testing.assert_array_equal(found, wanted[start:stop], err_msg=f"{program} {start}..{stop}")

    # Single steps, a cut chunk, single steps over what it left behind, chunks, the last one beyond the last position.
    for start in range(0, 4, unit):
        check("few", start, start + unit)
    check("many", 4, 9)
    for start in range(9 // unit * unit, 12, unit):
        check("few", start, start + unit)
    for start in range(12, LENGTH, chunk):
        check("many", start, min(start + chunk, LENGTH))
    # All of it is known, so the versions of the single step can be asked in any order.
    for start in (LENGTH - 1, 2 * config.panel - unit, 2 * config.panel, 0):
        start = min(start, LENGTH - 1) // unit * unit
        check("few", start, min(start + unit, LENGTH))


def test_the_quantized_graph_computes_single_rows_as_well():
    graph = causal_graph(CONFIGS["tiny"])
    ids = np.random.default_rng(0).integers(0, 50, (LENGTH, 1)).astype(np.int32)
    wanted = graph.run({graph.inputs[0]: ids})[graph.outputs[0].tensor]
    step, caches = Steps(graph, LENGTH, 1).graph(1, LENGTH), {}
    for position in range(LENGTH):
        found = step.run({graph.inputs[0]: ids[position]}, position, caches)[step.outputs[0].tensor]
        np.testing.assert_array_equal(found[0], wanted[position])


@pytest.mark.parametrize("name", ["tiny", "four_bit", "circulant", "sparse"])
def test_programs_share_weights_and_caches(name):
    config = CONFIGS[name]
    graph = causal_graph(config)
    few, many = Runner(graph, config, 8).lowered.values()
    assert few.image.constant is many.image.constant
    states = [[b for b in one.image.buffers if b.kind == "state"] for one in (few, many)]
    assert states[0] == states[1] and len(states[0]) == 2
    plain = lower(graph, config).image
    constants = [next(b.bytes for b in image.buffers if b.name == "constants") for image in (few.image, plain)]
    # Beyond what the plain program has: more rows of the table by position, and records of layers cut otherwise.
    assert constants[0] < 1.3 * constants[1]


def test_programs_share_tiles_that_are_not_zero():
    """Pieces of K and N that differ, of one copy of what is stored."""
    config = Config(rows=8, cols=8, scratchpad_kib=8, four_bit=True)
    dense = causal_graph(config, hidden=128)
    graph = with_zeros(dense, config, 0.6, 0)
    ids = np.random.default_rng(0).integers(0, 50, (LENGTH, 1)).astype(np.int32)
    wanted = graph.run({graph.inputs[0]: ids})[graph.outputs[0].tensor]
    runner = Runner(graph, config, 8)
    for name, start, stop in [("many", 0, 8), ("few", 8, 9), ("few", 9, 10), ("many", 10, 18)]:
        np.testing.assert_array_equal(runner.run(name, ids[start:stop], start), wanted[start:stop])
    stored = [Runner(g, config, 8).lowered["few"] for g in (graph, dense)]
    assert stored[0].compulsory_bytes < 0.65 * stored[1].compulsory_bytes
    constants = [next(b.bytes for b in one.image.buffers if b.name == "constants") for one in stored]
    assert constants[1] - constants[0] > 0.8 * (stored[1].compulsory_bytes - stored[0].compulsory_bytes)


@pytest.mark.parametrize("seed", [0, 3])
def test_programs_that_stream_circulant_weights_in_different_ways_have_their_own_tiles(seed):
    """Few rows are turned, of many the weights are; each has its order of words, its tiles and its records of a uint8 operand."""
    config, m = Config(rows=16, cols=8, circulant=(4,)), GraphMaker(seed)
    x = m.norm(m.add(m.embed(m.input(LENGTH, 1, "int32"), 64), m.constant(LENGTH, 64)), two=False)
    a = m.attention(*(m.linear(x, 64, block=4) for _ in range(3)), 4, causal=True)
    graph = with_zeros(m.output(m.linear(m.linear(a, 64, "uint8", block=4), 64, "int16", block=4)), config, 0.8, seed)
    ids = np.random.default_rng(0).integers(0, 50, (LENGTH, 1)).astype(np.int32)
    wanted = graph.run({graph.inputs[0]: ids})[graph.outputs[0].tensor]
    runner = Runner(graph, config, 8)
    for name, start, stop in [("many", 0, 8), ("few", 8, 9), ("many", 9, 17)]:
        np.testing.assert_array_equal(runner.run(name, ids[start:stop], start), wanted[start:stop])


def test_the_gather_does_not_wait_behind_weights():
    lines = list(disassemble(Runner(causal_graph(CONFIGS["tiny"]), CONFIGS["tiny"], 8).lowered["few"].image.code))
    engine = [line.split()[1] for line in lines]
    assert engine.index("INDEX") < engine.index("LOAD")


def rows_of(m, count=9):
    return m.linear(m.norm(m.embed(m.input(count, 1, "int32"), 8), two=False), 8)


@pytest.mark.parametrize("make, words", [
    (lambda m: m.attention(*[rows_of(m)] * 3, 2), "not causal"),
    (lambda m: m.attention(*[rows_of(m)] * 3, 2, mask=m.constant(9, 9, "bool"), causal=True), "not causal"),
    (lambda m: m.select(rows_of(m), [0] * 9), "one by one"),
    (lambda m: m.linear(m.input(9, 8), 8), "token ids alone"),
    (lambda m: rows_of(m, 7), "7 rows"),
])
def test_what_is_no_decoder_is_refused(make, words):
    m = GraphMaker(2)
    with pytest.raises(CompileError, match=words):
        Steps(m.output(make(m)), 9, 1)


def test_counters_stay_low_however_late_an_accumulator_is_used_again(monkeypatch):
    config = Config(rows=4, cols=4, accumulator_kib=32)
    m = GraphMaker(3)
    graph = m.output(m.linear(m.input(1, 192), 8000, "int16"))
    lower(graph, config)
    monkeypatch.setattr(tokens, "_LONG_AGO", 1 << 30)
    with pytest.raises(CompileError, match="tokens ahead"):
        lower(graph, config)
