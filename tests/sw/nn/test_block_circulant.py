"""The block-circulant layer: equal to its matrix by either way of computing, gradients, projection, export."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from weft import CompileError
from weft.nn import BlockCirculantLinear
from weft.nn import block_circulant as bc
from weft.weights import CirculantWeights

SIZES = {"rows": st.integers(1, 3), "columns": st.integers(1, 3), "block": st.integers(2, 9), "seed": st.integers(0, 999)}


def layer(columns, rows, block, seed=0, **kwargs):
    torch.manual_seed(seed)
    return BlockCirculantLinear(columns * block, rows * block, block, dtype=torch.double, **kwargs)


@pytest.fixture(params=[True, False], ids=["spectral", "expanded"])
def way(request, monkeypatch):
    monkeypatch.setattr(bc, "_spectral", lambda x, generators: request.param)


@settings(deadline=None, max_examples=40)
@given(**SIZES, lead=st.lists(st.integers(1, 3), max_size=2), spectral=st.booleans())
def test_forward_is_the_product_with_the_matrix(rows, columns, block, seed, lead, spectral):
    module = layer(columns, rows, block, seed)
    x = torch.randn(*lead, columns * block, dtype=torch.double)
    before = bc._spectral
    try:
        bc._spectral = lambda x, generators: spectral
        y = module(x)
    finally:
        bc._spectral = before
    assert torch.allclose(y, nn.functional.linear(x, module.dense_weight(), module.bias))
    wanted = CirculantWeights(module.generators.detach().numpy()).expand()
    assert np.array_equal(module.dense_weight().detach().numpy(), wanted)


@pytest.mark.parametrize("block", [2, 3, 8])
def test_gradients(way, block):
    module = layer(2, 3, block)
    x = torch.randn(4, 2 * block, dtype=torch.double, requires_grad=True)
    operands = (x, module.generators, module.bias)
    assert torch.autograd.gradcheck(bc.block_circulant_linear, operands)
    assert torch.autograd.gradgradcheck(bc.block_circulant_linear, operands)


def test_gradients_reach_only_what_asks_for_them(way):
    module = layer(2, 3, 4, bias=False)
    x = torch.randn(5, 8, dtype=torch.double)
    module(x).square().sum().backward()
    wanted = module.generators.grad.clone()
    module.zero_grad()
    nn.functional.linear(x, module.dense_weight()).square().sum().backward()
    assert torch.allclose(module.generators.grad, wanted) and x.grad is None


@settings(deadline=None, max_examples=30)
@given(**SIZES)
def test_projection_is_the_least_squares_answer(rows, columns, block, seed):
    dense = nn.Linear(columns * block, rows * block, dtype=torch.double)
    made = BlockCirculantLinear.from_linear(dense, block)
    # Each generator is one column of a linear problem: the matrix with ones where it appears.
    count = made.generators.numel()
    basis = bc.expand(torch.eye(count, dtype=torch.double).reshape(count * rows, columns, block)).reshape(
        count, rows * block * columns * block)
    solved = torch.linalg.lstsq(basis.t(), dense.weight.detach().reshape(-1, 1)).solution
    assert torch.allclose(made.generators.detach().reshape(-1), solved[:, 0])
    assert torch.equal(made.bias, dense.bias)
    assert torch.allclose(BlockCirculantLinear.from_linear(_linear(made), block).generators, made.generators)


def _linear(module):
    dense = nn.Linear(module.in_features, module.out_features, dtype=torch.double)
    with torch.no_grad():
        dense.weight.copy_(module.dense_weight())
    return dense


def test_state_dict_round_trip():
    first, second = layer(2, 2, 4, seed=1), layer(2, 2, 4, seed=2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file))
    x = torch.randn(3, 8, dtype=torch.double)
    assert torch.equal(first(x), second(x)) and set(first.state_dict()) == {"generators", "bias"}


def test_it_trains():
    torch.manual_seed(0)
    target, module = layer(2, 3, 4, seed=5), layer(2, 3, 4, seed=6)
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(300):
        x = torch.randn(32, 8, dtype=torch.double)
        loss = (module(x) - target(x).detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.allclose(module.generators, target.generators, atol=1e-2)


def test_half_precision():
    module = BlockCirculantLinear(32, 32, 16).bfloat16()
    y = module(torch.ones(2, 32, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and torch.isfinite(y).all()


def test_export_keeps_one_node():
    program = torch.export.export(nn.Sequential(BlockCirculantLinear(16, 24, 8)), (torch.randn(2, 5, 16),))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.weft.block_circulant_linear.default]
    assert program.module()(torch.zeros(2, 5, 16)).shape == (2, 5, 24)


def test_the_operator_satisfies_torch():
    module = layer(2, 3, 4)
    x = torch.randn(5, 8, dtype=torch.double, requires_grad=True)
    torch.library.opcheck(torch.ops.weft.block_circulant_linear.default, (x, module.generators, module.bias))


@pytest.mark.parametrize("sizes, words", [((12, 16, 8), "12 inputs and 16 outputs.* blocks of 8"),
                                          ((16, 12, 8), "16 inputs and 12 outputs.* blocks of 8"),
                                          ((16, 16, 1), "at least 2, not 1"), ((16, 16, 4.0), "not 4.0")])
def test_sizes_that_do_not_divide_are_refused(sizes, words):
    with pytest.raises(CompileError, match=words):
        BlockCirculantLinear(*sizes)
    if sizes[2] == 8:
        with pytest.raises(CompileError, match=words):
            BlockCirculantLinear.from_linear(nn.Linear(*sizes[:2]), 8)
