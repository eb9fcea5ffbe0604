"""Predicted cycles against those of the RTL, on small programs of every kind; and what the model cannot take."""

import numpy as np
import pytest

from weft import qgraph, workloads
from weft.hw.config import Config
from weft.hw.errors import ProgramError
from weft.hw.image import Image
from weft.hw.isa import encode_program
from weft.lower import lower
from weft.performance import predict, predict_instructions

CONFIGS = {"tiny": Config.named("tiny"), "8x12": Config(rows=8, cols=12, four_bit=True, circulant=(4,))}
#: How far a prediction may be from the RTL, and cycles that count for nothing in a short program.
TOLERANCE, SLACK = 0.03, 20


def layer(rows, features, hidden, seed=0):
    """A feed-forward layer around a norm, int16 residual and all: what a transformer has between its attentions."""
    rng = np.random.default_rng(seed)
    graph = qgraph.QGraph()

    def tensor(name, n, dtype):
        graph.tensors[name] = qgraph.QTensor(name, rows, n, dtype, np.ones(1))
        return name

    def rescale(n, dtype):
        return qgraph.Rescale(np.zeros(n, np.int32), np.full(n, 1000, np.int32), np.full(n, 20, np.int32), dtype, 0)

    def weight(n, k):
        return rng.integers(-127, 128, (n, k)).astype(np.int8)

    graph.ops = [
        qgraph.Input(out=tensor("x", features, "int16")),
        qgraph.Norm(out=tensor("a", features, "int8"), x="x", kind="layer", eps=10, rescale=rescale(features, "int8"),
                    out2=tensor("r", features, "int16"), rescale2=rescale(features, "int16")),
        qgraph.Linear(out=tensor("h", hidden, "int8"), x="a", weight=weight(hidden, features),
                      rescale=rescale(hidden, "int8")),
        qgraph.Linear(out=tensor("y", features, "int16"), x="h", weight=weight(features, hidden), residual="r",
                      rescale=rescale(features, "int16")),
        qgraph.Norm(out=tensor("z", features, "int8"), x="y", kind="rms", eps=10, rescale=rescale(features, "int8")),
    ]
    graph.outputs = [qgraph.Output("z", (rows, features))]
    return graph


def images():
    """``(name, configuration, image)`` of the programs."""
    for name, config in CONFIGS.items():
        for shape in ((1, 96, 128), (24, 64, 48), (40, 64, 100), (130, 48, 40)):
            yield f"gemm {shape} {name}", name, workloads.gemm(*shape, config)[0].image
        yield f"gemm with tiles of zeros {name}", name, workloads.gemm(40, 96, 96, config, zero_tiles=0.5)[0].image
        if config.four_bit:
            yield f"4-bit gemm {name}", name, workloads.gemm(1, 128, 96, config, weights="w4g32")[0].image
        for rows in (1, 20) if config.circulant else ():
            program = workloads.gemm(rows, 128, 192, config, weights="circulant:4")[0]
            yield f"circulant gemm of {rows} rows {name}", name, program.image
        for shape in ((2, 40, 12), (2, 56, 12), (3, 64, 24)):
            yield f"attention {shape} {name}", name, workloads.attention(*shape, config)[0].image
        for shape in ((1, 40, 100), (20, 48, 100)):
            yield f"layer {shape} {name}", name, lower(layer(*shape), config).image


CASES = list(images())


@pytest.mark.parametrize("case", range(len(CASES)), ids=[case[0].replace(" ", "-") for case in CASES])
def test_prediction_is_close_to_the_rtl(rtl_machine, case):
    _, name, image = CASES[case]
    inputs = {b.name: np.zeros(b.bytes, np.uint8) for b in image.buffers if b.kind == "input"}
    stats = rtl_machine(CONFIGS[name]).run(image, inputs).stats
    found = predict(image)
    assert abs(found.cycles - stats["cycles"]) <= TOLERANCE * stats["cycles"] + SLACK, (found.cycles, stats["cycles"])
    size = image.config.data_bytes
    assert found.dram_write_beats * size == stats["dram_write_bytes"]
    assert abs(found.dram_read_beats * size - stats["dram_read_bytes"]) <= TOLERANCE * stats["dram_read_bytes"] + 1024


def test_control_flow_follows_the_registers():
    loop = [("CALC", dict(rd=2, ra=1, rb=0, left=0, right=0, imm=0)),
            ("CALC", dict(rd=2, ra=2, rb=0, left=0, right=0, imm=-1)),
            ("BRANCH", dict(cond=1, ra=2, rb=0, offset=-2)), ("END", {})]
    config = CONFIGS["tiny"]
    once, often = (predict_instructions(config, loop, {1: count}).cycles for count in (1, 5))
    assert often - once >= 4 * 64, "each taken branch costs a memory latency"
    image = Image(config, np.concatenate([np.zeros(128, np.uint8), encode_program(loop)]), 8192, 128, 4, [], [""] * 4)
    assert predict(image, {1: 5}).cycles == often


def test_memory_can_be_slower():
    image = workloads.gemm(4, 64, 64, CONFIGS["tiny"])[0].image
    assert predict(image, latency=64).cycles < predict(image, latency=200).cycles < \
        predict(image, latency=200, in_flight=2).cycles


def test_what_it_cannot_predict():
    config = CONFIGS["tiny"]
    wait = ("LOAD_SYNC", dict(wait=1, wait_count=1, signal=0, signal_count=0))
    with pytest.raises(ProgramError, match="counter 1"):
        predict_instructions(config, [wait, ("END", {})])
    with pytest.raises(ProgramError, match="beyond its last"):
        predict_instructions(config, [])
