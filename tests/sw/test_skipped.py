"""MACs that a program computes and those that it leaves out add up to the model's."""

import pytest
import torch
from torch import nn

import weft
from weft.bench import zoo

TINY = weft.Config.named("tiny")


def test_neurons_and_tiles(tmp_path):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16)).eval(), torch.randn(24, 16)
    dense = weft.compile(model, (x,), config=TINY)
    assert (dense.macs, dense.skipped_macs, dense.weight_bytes) == (2 * 24 * 16 * 64, 0, 2 * 16 * 64)
    with torch.no_grad():
        model[0].weight[:20] = model[0].bias[:20] = 0       # neurons
        model[2].weight[:8, 20:52] = 0                      # tiles
    program = weft.compile(model, (x,), config=TINY)
    assert program.skipped_macs == 24 * (2 * 16 * 20 + 8 * 32)
    assert program.macs == dense.macs - program.skipped_macs == sum(program.layer_macs.values())
    assert program.weight_bytes == 2 * 16 * 44 - 8 * 32
    program.save(tmp_path / "ffn.weft")
    loaded = weft.load(tmp_path / "ffn.weft")
    stats = loaded.run((x,)).stats
    assert (stats.macs, stats.skipped_macs, loaded.weight_bytes) == (program.macs, program.skipped_macs, program.weight_bytes)
    assert stats.array_macs == program.macs and 0 < stats.gated_macs < stats.array_macs


@pytest.mark.parametrize("what", ["tiles", "head"])
def test_a_decoder_counts_each_row(what, tmp_path):
    model, ids = zoo.gpt2(layers=1, hidden=32, heads=2, vocabulary=40, positions=24), torch.arange(6)

    def stats_of(name):
        program = weft.compile_decoder(model, config=weft.Config(rows=8, cols=8), max_length=16, calibration=[ids])
        program.save(tmp_path / name)
        session = weft.load(tmp_path / name).session("golden")
        session.step(ids[:4])
        session.step(ids[4:5])
        return session.stats, program

    (dense, before), block = stats_of("dense.weft"), model.transformer.h[0]
    with torch.no_grad():
        if what == "tiles":
            block.mlp.c_fc.weight[:16, :64] = 0
            rows, keys, stored = 16 * 64, 0, before.weight_bytes - 16 * 64
        else:
            block.attn.c_attn.weight[:, 64:80] = block.attn.c_attn.bias[64:80] = 0      # values of the first head
            rows, keys, stored = 4 * 32 * 16, 2 * 16, before.weight_bytes - 4 * 32 * 16
    sparse, after = stats_of("sparse.weft")
    assert dense.skipped_macs == 0 and sparse.skipped_macs == rows + 5 * keys
    assert sparse.macs == dense.macs - sparse.skipped_macs and after.weight_bytes == stored
