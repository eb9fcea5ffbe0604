"""Pruning: patterns hold, better saliencies lose less, training keeps the zeros, bad requests are refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import weft
from weft import CompileError
from weft.nn import keep_zeros
from weft.nn.pruning import pruned
from weft.weights import pattern_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(20, 32)
        self.up, self.down, self.spare = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 32)
        self.head = nn.Linear(32, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(x + self.down(torch.relu(self.up(x))))


IDS = [((torch.randint(20, (2, 16), generator=torch.Generator().manual_seed(i)),), {}) for i in range(4)]
OWN = ["up", "down"]


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 6), groups=st.integers(1, 6), kept=st.sampled_from([1, 2]), seed=st.integers(0, 999),
       saliency=st.sampled_from(["hessian", "activation", "magnitude"]))
def test_every_group_keeps_as_many_as_it_may(n, groups, kept, seed, saliency):
    generator = torch.Generator().manual_seed(seed)
    weight, x = torch.randn(n, 4 * groups, generator=generator), torch.randn(50, 4 * groups, generator=generator)
    out = pruned(weight, kept, 4, x.t() @ x, saliency)
    assert ((out.reshape(n, groups, 4) != 0).sum(-1) == kept).all()
    if saliency != "hessian":
        assert torch.equal(out[out != 0], weight[out != 0])


def test_activations_decide():
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    moments = torch.diag(torch.tensor([100.0, 100.0, 1.0, 1.0]))
    assert torch.equal(pruned(weight, 2, 4, moments, "activation"), torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    assert torch.equal(pruned(weight, 2, 4, moments, "magnitude"), torch.tensor([[0.0, 0.0, 3.0, 4.0]]))
    assert (pruned(weight, 2, 4, moments, "hessian") != 0).tolist() == [[True, True, False, False]]


def test_each_saliency_loses_less_than_the_one_before():
    torch.manual_seed(2)
    x = torch.randn(500, 64) @ torch.randn(64, 64) * torch.rand(64) ** 2
    weight = torch.randn(32, 64)
    errors = [float(((pruned(weight, 2, 4, x.t() @ x, s) - weight) @ x.t()).square().mean())
              for s in ("magnitude", "activation", "hessian")]
    assert errors[0] > 1.05 * errors[1] > 1.5 * errors[2]


@pytest.mark.parametrize("pattern", ["2:4", "1:4"])
def test_a_model_is_pruned_in_a_copy(pattern):
    model = Net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = weft.sparsify(model, pattern, calibration=IDS, modules=OWN)
    assert type(made) is Net and made.state_dict().keys() == before.keys()
    assert [pattern_of(getattr(made, name).weight).name for name in ("up", "down", "spare")] == [pattern, pattern, "dense"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert made.training and not made.up._forward_pre_hooks


def test_a_tied_weight_is_left_alone_unless_named():
    made = weft.sparsify(Net(), "2:4", saliency="magnitude")
    assert pattern_of(made.head.weight).name == "dense" and pattern_of(made.spare.weight).name == "2:4"
    named = weft.sparsify(Net(), "2:4", saliency="magnitude", modules="head")
    assert pattern_of(named.embed.weight).name == "2:4"


@pytest.mark.parametrize("optimizer", [
    lambda p: torch.optim.SGD(p, 0.02, momentum=0.9), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)])
def test_finetuning_keeps_the_zeros(optimizer):
    losses = []

    def finetune(model):
        step = optimizer(model.parameters())
        for _ in range(20):
            for (ids,), _ in IDS:
                loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), (ids.flatten() + 1) % 20)
                step.zero_grad()
                loss.backward()
                step.step()
                assert pattern_of(model.up.weight).name == "2:4"
                losses.append(loss.item())

    model = Net()
    pruned_once = weft.sparsify(model, "2:4", calibration=IDS, modules=OWN)
    made = weft.sparsify(model, "2:4", calibration=IDS, modules=OWN, finetune=finetune)
    assert losses[-1] < 0.5 * losses[0]
    for name in OWN:
        assert torch.equal(getattr(made, name).weight == 0, getattr(pruned_once, name).weight == 0)
    assert not torch.equal(made.up.weight, pruned_once.up.weight)


def test_zeros_are_free_again_afterwards():
    model = Net()
    with torch.no_grad():
        model.up.weight[:, 0] = 0
    with keep_zeros(model):
        model.up.weight.data += 1           # no optimizer: put right at the end
    assert not model.up.weight[:, 0].any() and model.up.weight[:, 1:].all()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.up.weight.grad = torch.ones_like(model.up.weight)
    optimizer.step()
    assert model.up.weight[:, 0].all()


def test_conv1d_is_pruned_along_its_inputs():
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2Model(transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=8))
    made = weft.sparsify(model, "1:4", calibration=[((torch.arange(8)[None],), {})], modules="h.*")
    assert pattern_of(made.h[0].mlp.c_proj.weight.t()).name == "1:4"
    assert pattern_of(made.h[0].mlp.c_proj.weight).name == "dense"


@pytest.mark.parametrize("arguments, words", [
    ({"pattern": "2:5"}, "must be 2:4 or 1:4, not '2:5'"),
    ({"saliency": "guess"}, "one of hessian, activation, magnitude, not 'guess'"),
    ({"modules": "layers.*"}, r"'layers\.\*' matches none of the 4 linear layers"),
    ({"calibration": []}, "at least one batch"),
    ({"modules": "spare"}, "layer spare was not called"),
    ({"finetune": 3}, "a function of the model, not int"),
])
def test_bad_requests_are_refused(arguments, words):
    arguments = {"pattern": "2:4", "calibration": IDS, "modules": OWN, **arguments}
    with pytest.raises(CompileError, match=words):
        weft.sparsify(Net(), arguments.pop("pattern"), **arguments)


def test_inputs_that_do_not_divide_are_refused_with_path_and_values():
    with pytest.raises(CompileError, match="layer 1 has 6 inputs.*groups of 4"):
        weft.sparsify(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)), "2:4", saliency="magnitude")
