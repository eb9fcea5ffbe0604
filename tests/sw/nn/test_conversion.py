"""Exchanging layers by module path."""

import pytest
import torch
from torch import nn

import weft
from weft import CompileError
from weft.nn import BlockCirculantLinear, expanded
from weft.weights import circulant_block


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict({"q": nn.Linear(16, 16), "k": nn.Linear(16, 16)})
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16, bias=False))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.mlp(self.attn["q"](x) + self.attn["k"](x)))


def kinds(model):
    return {path: type(module).__name__ for path, module in model.named_modules() if "Linear" in type(module).__name__}


def test_layers_are_exchanged_in_a_copy():
    model = Net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = weft.circulant(model, block=8, modules="mlp.*")
    assert [path for path, kind in kinds(made).items() if kind == "BlockCirculantLinear"] == ["mlp.0", "mlp.2"]
    assert set(kinds(model).values()) == {"Linear"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert made.mlp[2].bias is None and made.mlp[0].block == 8
    made.attn["q"].weight.data.zero_()
    assert model.attn["q"].weight.any()
    assert made(torch.randn(3, 16)).shape == (3, 5)


def test_several_patterns_in_place():
    model = Net()
    assert weft.circulant(model, block=4, modules=["mlp.2", "attn.?"], inplace=True) is model
    assert sum(isinstance(module, BlockCirculantLinear) for module in model.modules()) == 3


def test_a_layer_used_twice_stays_one():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model.append(model[0])
    made = weft.circulant(model, block=4, modules=["0", "2"])
    assert made[0] is made[2]


def test_back_to_ordinary_layers():
    model = weft.circulant(Net(), block=8, modules=["mlp.*", "attn.q"])
    dense = expanded(model)
    assert set(kinds(dense).values()) == {"Linear"} and dense.state_dict().keys() == Net().state_dict().keys()
    assert kinds(model)["mlp.0"] == "BlockCirculantLinear"
    x = torch.randn(3, 16)
    assert torch.allclose(dense(x), model(x), atol=1e-5)
    assert circulant_block(dense.half().mlp[0].weight) == 8
    assert expanded(model, inplace=True) is model and set(kinds(model).values()) == {"Linear"}


def test_conv1d_of_gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20,
                                                                 n_positions=8, use_cache=False)).eval()
    made = weft.circulant(model, block=2, modules="*.mlp.*")
    old, new = model.transformer.h[0].mlp.c_fc, made.transformer.h[0].mlp.c_fc
    assert (new.in_features, new.out_features) == (16, 64) and torch.equal(new.bias, old.bias)
    tile = old.weight.detach().t()[2:4, 6:8]
    assert torch.allclose(new.dense_weight()[2:4, 6:8], torch.stack([tile[0] + tile[1].flip(0),
                                                                     tile[1] + tile[0].flip(0)]) / 2)
    ids = torch.arange(8)[None]
    assert torch.isfinite(made(ids).logits).all()


def test_patterns_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(CompileError, match=r"'encoder\.\*' matches none of the 5 linear layers of Net"):
        weft.circulant(Net(), modules=["mlp.*", "encoder.*"])
    with pytest.raises(CompileError, match="layer head with 16 inputs and 5 outputs.*blocks of 8"):
        weft.circulant(Net(), modules="*")
    with pytest.raises(CompileError, match="not str"):
        weft.circulant("model", modules="*")
