"""The accuracy report: the tensors of the encoded program, found again and compared with the float model."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import weft
from weft.decoder.pipeline import causal_graph, windows
from weft.frontend import import_model
from weft.quantize import quantize
from weft.quantize.execute import execute

CONFIG = weft.Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4)


class Block(nn.Module):
    """Attention with padding, heads that do not fill a panel, a GELU with two rare large neurons, a fused residual."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 18)
        self.qkv, self.out = nn.Linear(18, 54), nn.Linear(18, 18)
        self.up, self.down = nn.Linear(18, 24), nn.Linear(24, 18)
        self.norm = nn.LayerNorm(18)
        with torch.no_grad():
            self.up.weight[20] *= 30
            self.up.weight[7] *= 25

    def forward(self, ids, mask):
        x = self.embed(ids)
        q, k, v = self.qkv(x).view(1, -1, 3, 3, 6).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, mask[:, None, None].bool())
        x = self.norm(x + self.out(y.transpose(1, 2).reshape(x.shape)))
        return x + self.down(nn.functional.gelu(self.up(x)))


class Other(nn.Module):
    """A model with the same inputs and nothing else in common."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 10)

    def forward(self, ids, mask):
        return self.embed(ids)


@pytest.fixture(scope="module")
def block():
    """``(model, program, quantized graph, batches)``; the second batch is shorter than the program."""
    torch.manual_seed(0)
    model = Block().eval()
    batches = [((torch.randint(12, (1, n)), torch.ones(1, n, dtype=torch.long)), {}) for n in (11, 6)]
    program = weft.compile(model, *batches[0], config=CONFIG, calibration=batches)
    quantized = quantize(import_model(model, *batches[0]), batches, None, CONFIG.key_block, CONFIG.panel)
    return model, program, quantized, batches


def test_intermediates_are_those_of_the_quantized_graph(block):
    _, program, quantized, batches = block
    values = program.intermediates(batches)
    assert any(p.order is not None for p in program.probes.tensors)
    assert any(p.dtype == "int16" and p.operation == "Embed" for p in program.probes.tensors)
    for number, (args, kwargs) in enumerate(batches):
        tensors, _ = quantized.host.prepare(args, kwargs)
        wanted = execute(quantized, tensors, keep=True)
        computed = {name for op in quantized.ops if op.reads for name in op.writes}
        assert set(values) == computed
        for name in computed:
            np.testing.assert_array_equal(values[name][number], wanted[name], name)


def test_report_survives_the_file_and_leaves_padding_out(block, tmp_path):
    model, program, _, batches = block
    program.save(tmp_path / "block.weft")
    report = weft.accuracy_report(model, weft.load(tmp_path / "block.weft"), batches)
    ratios = [row.snr_db for row in report.rows]
    assert ratios == sorted(ratios) and 15 < ratios[0] < 60
    assert {"embed", "norm", "qkv"} <= {row.layer for row in report.rows}
    assert str(report).splitlines()[1].split()[0] in (report.rows[0].layer, "<top>")
    # Whatever the padded positions hold does not count.
    padded = [((nn.functional.pad(ids, (0, 11 - ids.shape[1]), value=3),
                nn.functional.pad(mask, (0, 11 - mask.shape[1]))), {}) for (ids, mask), _ in batches]
    assert [row.snr_db for row in weft.accuracy_report(model, program, padded).rows] == ratios


def test_the_damaged_layer_comes_first(block):
    """A float model whose one layer differs: noise appears there, not before it."""
    model, program, _, batches = block
    other = Block().eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.down.weight.add_(torch.randn(18, 24))
    before = {(r.layer, r.tensor, r.dtype): r.snr_db for r in weft.accuracy_report(model, program, batches).rows}
    report = weft.accuracy_report(other, program, batches)
    assert report.rows[0].operation == "Linear" and report.rows[0].snr_db < 10
    changed = [r for r in report.rows if r.snr_db != before[r.layer, r.tensor, r.dtype]]
    assert changed == report.rows[:1]


def test_another_model_and_no_data_are_refused(block):
    model, program, _, batches = block
    with pytest.raises(weft.InputError, match="not compiled from this model"):
        weft.accuracy_report(Other(), program, batches)
    with pytest.raises(weft.InputError, match="at least one"):
        weft.accuracy_report(model, program, [])


class Causal(nn.Module):
    """Two attention layers and a norm, so that caches matter."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.out = nn.Embedding(12, 8), nn.LayerNorm(8), nn.Linear(8, 12)
        self.qkv = nn.ModuleList(nn.Linear(8, 24) for _ in range(2))

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.qkv:
            q, k, v = layer(x).view(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + y.transpose(1, 2).reshape(x.shape)
        return self.out(self.norm(x))


@pytest.fixture(scope="module")
def decoder():
    """``(model, decoder program, its quantized graph, token ids)``."""
    torch.manual_seed(1)
    model, texts = Causal().eval(), [torch.randint(12, (n,)) for n in (19, 11)]
    program = weft.compile_decoder(model, config=CONFIG, max_length=19, calibration=texts)
    graph, kwargs = causal_graph(model, 19)
    padded, counts = windows(texts, 19)
    quantized = quantize(graph, [((ids,), kwargs) for ids in padded], None, CONFIG.key_block, CONFIG.panel, counts)
    return model, program, quantized, texts


def test_intermediates_of_a_decoder_are_those_of_the_whole_graph(decoder, tmp_path):
    _, program, quantized, texts = decoder
    program.save(tmp_path / "causal.weft")
    program = weft.load(tmp_path / "causal.weft")
    assert program.steps["prefill"].rows < len(texts[1])
    for ids in texts:
        padded = nn.functional.pad(ids, (0, 19 - len(ids)))[None]
        wanted = execute(quantized, quantized.host.prepare((padded,))[0], keep=True)
        values = program.intermediates(ids.numpy())
        assert set(values) == {name for op in quantized.ops if op.reads for name in op.writes}
        for name, got in values.items():
            np.testing.assert_array_equal(got, wanted[name][:len(ids)], name)


def test_report_of_a_decoder(decoder):
    model, program, _, texts = decoder
    report = weft.accuracy_report(model, program, texts)
    ratios = [row.snr_db for row in report.rows]
    assert report.samples == 2 and ratios == sorted(ratios) and 20 < ratios[0] < 60
    # Longer texts are cut into windows.
    both = weft.accuracy_report(model, program, [torch.cat(texts)])
    assert both.samples == 2 and [row.snr_db for row in both.rows] == ratios
    with pytest.raises(weft.InputError, match="at least one"):
        weft.accuracy_report(model, program, [])
    with pytest.raises(weft.InputError, match="not compiled from this model"):
        weft.accuracy_report(CausalOther(), program, texts)
    with pytest.raises(weft.InputError, match="takes a weft.Program or weft.DecoderProgram, not a Causal"):
        weft.accuracy_report(model, model, texts)


class CausalOther(nn.Module):
    """Another model of token ids."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 10)

    def forward(self, ids):
        return self.embed(ids)


def test_exact_tensors_have_no_ratio_in_json():
    from weft.fidelity import AccuracyReport, AccuracyRow

    report = AccuracyReport([AccuracyRow("a", "t", "Add", "int16", float("inf"), 0.0)], 1)
    assert json.loads(json.dumps(report.as_dict()))["rows"][0]["snr_db"] is None and "exact" in str(report)
