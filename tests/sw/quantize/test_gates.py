"""Products of a gate and a value: precision, what is split, and that the accelerator computes the same."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import weft
from weft import qgraph as qg
from weft.frontend import graph as fg
from weft.frontend import import_model
from weft.quantize import quantize
from weft.quantize.calibrate import Observed
from weft.quantize.gates import split_gates
from weft.quantize.search import migrated_scale, one_sided


class Gated(nn.Module):
    """``down(act(gate(x)) * up(x))`` with gates that reach far beyond their usual values."""

    def __init__(self, act, width=32, inner=64):
        super().__init__()
        torch.manual_seed(0)
        self.act = act
        self.gate, self.up, self.down = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)
        with torch.no_grad():
            self.gate.weight[:4] *= 12

    def forward(self, x):
        return self.down(self.act(self.gate(x)) * self.up(x))


BATCHES = [((torch.randn(1, 24, 32, generator=torch.Generator().manual_seed(i)),), {}) for i in range(8)]


def snr(wanted, got):
    return 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())


@pytest.mark.parametrize("act, least", [(F.silu, 33.5), (F.gelu, 33.5)])
def test_gates_keep_precision(act, least):
    model = Gated(act).eval()
    graph = quantize(import_model(model, *BATCHES[0]), BATCHES)
    args, kwargs = BATCHES[0]
    tensors, state = graph.host.prepare(args, kwargs)
    got = graph.host.finish(graph.run(tensors), state)[0]
    with torch.no_grad():
        wanted = model(*args).numpy()
    assert snr(wanted, got) > least       # 8-bit tables of the functions themselves: 30 to 31 dB
    assert sum(isinstance(op, qg.Multiply) for op in graph.ops) == 2


def test_the_accelerator_computes_the_quantized_graph():
    model = Gated(F.silu).eval()
    program = weft.compile(model, *BATCHES[0], config="small", calibration=BATCHES)
    graph = quantize(import_model(model, *BATCHES[0]), BATCHES, key_block=program.config.key_block,
                     wide_block=program.config.panel)
    args, kwargs = BATCHES[2]
    tensors, state = graph.host.prepare(args, kwargs)
    wanted = graph.host.finish(graph.run(tensors), state)[0]
    assert np.array_equal(program.run(args).outputs[0], wanted)
    report = weft.accuracy_report(model, program, BATCHES[:2])
    assert all(np.isfinite(row.snr_db) and row.snr_db > 30 for row in report.rows)


@pytest.mark.parametrize("act, split", [(F.silu, True), (F.gelu, True), (F.relu, False), (torch.sigmoid, False),
                                        (torch.square, False), (torch.exp, False)])
def test_functions_that_are_split(act, split):
    graph = import_model(Gated(act).eval(), *BATCHES[0])
    before = graph.run({op.out: BATCHES[0][0][0][0] for op in graph.ops if isinstance(op, fg.FInput)})
    added = split_gates(graph)
    assert len(added) == split
    after = graph.run({op.out: BATCHES[0][0][0][0] for op in graph.ops if isinstance(op, fg.FInput)})
    for name, values in before.items():
        torch.testing.assert_close(after[name], values)


def test_an_activation_that_a_layer_reads_stays_whole():
    model = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 32)).eval()
    assert not split_gates(import_model(model, *BATCHES[0]))


def test_one_sided_features_use_both_sides_of_the_zero_point():
    random = np.random.default_rng(0)
    rows = (random.exponential(size=(512, 16)) - 0.25) * np.where(np.arange(16) % 2, 1, -1)
    seen = Observed(rows.min(0), rows.max(0), rows.astype(np.float32), len(rows))
    weight = random.normal(size=(8, 16)).astype(np.float32)
    sign, zero = one_sided(seen, [weight])
    assert (sign == np.where(np.arange(16) % 2, 1, -1)).all() and zero < -64
    options = weft.quantize.QuantOptions()._defaults
    even = migrated_scale(seen, [weight], options)
    tilted = migrated_scale(seen.turned(sign), [weight * sign], options, -128 - zero, 127 - zero)
    assert np.median(tilted / even) < 0.75
