"""Distillation brings a student to its teacher, whatever the data look like."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weft
from weft import CompileError


class Net(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(4, hidden), nn.Dropout(0.5), nn.Linear(hidden, 3)

    def forward(self, x, scale=1.0):
        return {"logits": self.last(self.drop(torch.tanh(self.first(x)))) * scale, "ids": torch.zeros(1, dtype=torch.long)}


def pair(hidden=8):
    torch.manual_seed(0)
    return Net(hidden), Net()


X = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("data", [
    [X], [(X,)], [[X, 1.0]], [{"x": X, "scale": 1.0}], [((X,), {"scale": 1.0})],
    DataLoader(TensorDataset(X), batch_size=16)], ids=["tensor", "tuple", "list", "kwargs", "args and kwargs", "loader"])
def test_every_form_of_batches(data):
    student, teacher = pair()
    student.train()
    before = copy.deepcopy(teacher.state_dict())
    losses = weft.distill(student, teacher, data, epochs=20, learning_rate=1e-2, progress=False)
    assert len(losses) == 20 and losses[-1] < 0.5 * losses[0]
    assert student.training and teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(v, before[name]) for name, v in teacher.state_dict().items())


def test_hidden_states_are_compared_by_path():
    student, teacher = pair()
    weft.distill(student, teacher, [X], epochs=300, learning_rate=5e-2, hidden="first",
                 hidden_weight=10.0, progress=False)
    assert torch.allclose(student.first(X), teacher.first(X), atol=0.1)


def test_kl_and_functions_as_losses():
    student, teacher = pair()
    losses = weft.distill(student, teacher, [X], epochs=200, loss="kl", temperature=2.0, learning_rate=2e-2, progress=False)
    assert losses[-1] < 0.05 * losses[0]
    student, teacher = pair()
    weft.distill(student, teacher, [X], loss=lambda a, b: (a - b).abs().mean() * 0, progress=False, learning_rate=1.0)


def test_kl_is_that_of_the_distributions():
    from weft.nn.distillation import divergence

    student, teacher = torch.randn(5, 3, 7), torch.randn(5, 3, 7)
    p, q = (torch.distributions.Categorical(logits=t / 3.0) for t in (teacher, student))
    assert torch.allclose(divergence(3.0)(student, teacher), torch.distributions.kl_divergence(p, q).mean() * 9, rtol=1e-4)


def test_a_given_optimizer_trains():
    student, teacher = pair()
    frozen = student.first.weight.clone()
    weft.distill(student, teacher, [X], optimizer=torch.optim.SGD(student.last.parameters(), 0.1), progress=False)
    assert torch.equal(student.first.weight, frozen) and student.last.weight.grad is not None


def test_what_does_not_fit_is_refused():
    student, teacher = pair()
    with pytest.raises(CompileError, match="at least one batch"):
        weft.distill(student, teacher, iter([X]), epochs=2, progress=False)
    with pytest.raises(CompileError, match="'middle.\\*' matches no module"):
        weft.distill(student, teacher, [X], hidden="middle.*", progress=False)
    with pytest.raises(CompileError, match="'mse', 'kl' or a function.*'huber'"):
        weft.distill(student, teacher, [X], loss="huber", progress=False)
    with pytest.raises(CompileError, match="equal shapes"):
        weft.distill(nn.Linear(4, 2), teacher, [X], progress=False)
