"""Pruned neurons, heads and unread features disappear from the float graph; what it computes stays."""

import pytest
import torch
from float_graphs import check
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from weft.frontend import graph as fg
from weft.nn import BlockCirculantLinear
from weft.weights import pattern_of


class Block(nn.Module):
    """A feed-forward block, gated or not, with an attention before it."""

    def __init__(self, activation=nn.functional.gelu, gated=False, width=16, inner=24, heads=4, kv_heads=4):
        super().__init__()
        torch.manual_seed(0)
        self.activation, self.gated, self.heads, self.kv_heads = activation, gated, heads, kv_heads
        size = width // heads
        self.q, self.k, self.v = nn.Linear(width, width), *(nn.Linear(width, kv_heads * size) for _ in range(2))
        self.o = nn.Linear(width, width)
        self.up, self.gate, self.down = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)

    def split(self, x, heads):
        return x.unflatten(-1, (heads, -1)).transpose(-2, -3)

    def forward(self, x):
        q = self.split(self.q(x), self.heads)
        k, v = (self.split(layer(x), self.kv_heads) for layer in (self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=self.heads != self.kv_heads)
        x = self.norm(x + self.o(y.transpose(-2, -3).flatten(-2)))
        hidden = self.activation(self.up(x))
        return x + self.down(hidden * self.gate(x) if self.gated else hidden)


X = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(7))


def linear_shapes(graph):
    return {op.origin.module: tuple(op.weight.shape) for op in graph.ops if isinstance(op, fg.FLinear)}


def zero(weight, rows=(), columns=()):
    with torch.no_grad():
        weight[list(rows)] = 0
        weight[:, list(columns)] = 0


def test_a_dense_model_stays_as_it_is():
    graph = check(Block(), (X,))
    assert linear_shapes(graph) == {"q": (16, 16), "k": (16, 16), "v": (16, 16), "o": (16, 16), "up": (24, 16),
                                    "down": (16, 24)}


@settings(deadline=None, max_examples=8)
@given(zero_rows=st.sets(st.integers(0, 23), max_size=20), unread=st.sets(st.integers(0, 23), max_size=20),
       zero_gate=st.sets(st.integers(0, 23), max_size=20), gated=st.booleans(), biased=st.booleans(),
       activation=st.sampled_from([nn.functional.gelu, torch.sigmoid, torch.relu]))
def test_neurons(zero_rows, unread, zero_gate, gated, biased, activation):
    model = Block(activation, gated)
    zero(model.up.weight, zero_rows)
    zero(model.down.weight, columns=unread)
    zero(model.gate.weight, zero_gate)
    dead = set(unread)
    with torch.no_grad():
        if not biased:
            model.up.bias.zero_()
            model.gate.bias.zero_()
    if not gated:
        dead |= zero_rows
    else:
        dead |= zero_rows & zero_gate
        # What is always 0 makes the product 0: a pruned neuron whose bias the activation takes to 0, a pruned gate without.
        constant = activation(model.up.bias)
        dead |= {n for n in zero_rows if constant[n] == 0} | {n for n in zero_gate if model.gate.bias[n] == 0}
    graph = check(model, (X,))
    left = max(24 - len(dead), 1)
    shapes = linear_shapes(graph)
    if len(dead) == 24 and "down" not in shapes:
        return
    assert shapes["up"] == (left, 16) and shapes["down"] == (16, left)
    assert not gated or shapes["gate"] == (left, 16)
    macs = {op.origin.module: op.origin.macs for op in graph.ops if isinstance(op, fg.FLinear)}
    assert macs["up"] == macs["down"] == 5 * 16 * left


@pytest.mark.parametrize("side", ["values", "output"])
def test_whole_heads(side):
    model = Block()
    if side == "values":
        zero(model.v.weight, range(4, 8))           # the bias goes through the attention unchanged
    else:
        zero(model.o.weight, columns=range(4, 8))
    zero(model.o.weight, columns=(0, 1))            # part of a head: stays
    graph = check(model, (X,))
    assert linear_shapes(graph)["q"] == linear_shapes(graph)["v"] == (12, 16) and linear_shapes(graph)["o"] == (16, 12)
    attention, = (op for op in graph.ops if isinstance(op, fg.FAttention))
    assert (attention.heads, attention.kv_heads, attention.origin.macs) == (3, 3, 2 * 3 * 5 * 5 * 4)


def test_heads_that_share_keys_go_together():
    model = Block(kv_heads=2)
    zero(model.o.weight, columns=range(0, 4))
    assert linear_shapes(check(model, (X,)))["q"] == (16, 16)
    zero(model.o.weight, columns=range(4, 8))
    shapes = linear_shapes(check(model, (X,)))
    assert shapes["q"] == (8, 16) and shapes["k"] == (4, 16) and shapes["o"] == (16, 8)


class Masked(Block):
    """Some queries of which may attend no key."""

    def forward(self, x, mask):
        q, k, v = (self.split(layer(x), 4) for layer in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~mask[:, None], -1e9)
        return self.o((scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2))


def test_a_mask_keeps_constant_values_that_are_not_zero():
    model, mask = Masked(), torch.ones(1, 5, 5, dtype=torch.bool)
    zero(model.v.weight, range(4, 8))
    assert linear_shapes(check(model, (X, mask)))["v"] == (16, 16)
    with torch.no_grad():
        model.v.bias[4:8] = 0
    assert linear_shapes(check(model, (X, mask)))["v"] == (12, 16)


def test_a_layer_of_zeros_disappears():
    model = Block()
    zero(model.down.weight, range(16))
    with torch.no_grad():
        model.down.bias.zero_()
    # It ends in an addition that is the model's result, which stays an operation; the layers before it shrink to one neuron.
    assert linear_shapes(check(model, (X,)))["up"] == (1, 16)
    both = nn.Sequential(model, Block())
    assert not any(path.startswith("0.up") or path.startswith("0.down") for path in linear_shapes(check(both, (X,))))


def test_results_of_the_model_keep_their_features():
    layer = nn.Linear(16, 8)
    zero(layer.weight, range(4), range(3))
    assert linear_shapes(check(layer, (X,))) == {"": (8, 16)}


def test_inputs_removed_from_the_producer_of_several_readers():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.a, self.b = nn.Linear(16, 12), nn.Linear(12, 4), nn.Linear(12, 4)

        def forward(self, x):
            y = torch.tanh(self.first(x))
            return self.a(y) + self.b(y)

    model = Two()
    zero(model.a.weight, columns=(1, 2, 3, 4))
    zero(model.b.weight, columns=(3, 4, 5))
    shapes = linear_shapes(check(model, (X,)))
    assert shapes["first"] == (10, 16) and shapes["a"] == (4, 10)


def test_sparse_weights_lose_whole_groups_only():
    model = Block(inner=32)
    with torch.no_grad():
        model.down.weight[:, 2::4] = model.down.weight[:, 3::4] = 0     # every second neuron: better removed
    assert linear_shapes(check(model, (X,)))["down"] == (16, 16)
    model = Block(inner=32)
    keep = torch.rand(16, 8, 4).argsort(-1) < 2
    with torch.no_grad():
        model.down.weight.mul_(keep.reshape(16, 32))
    zero(model.down.weight, columns=(0, 9, 20, 21, 22, 23))
    graph = check(model, (X,))
    down = next(op for op in graph.ops if isinstance(op, fg.FLinear) and op.origin.module == "down")
    assert tuple(down.weight.shape) == (16, 28) and pattern_of(down.weight).name == "2:4"


def test_circulant_layers_are_recognised_and_lose_whole_blocks():
    torch.manual_seed(0)
    model = Block(inner=32)
    model.up, model.down = BlockCirculantLinear(16, 32, 8), BlockCirculantLinear(32, 16, 4)
    with torch.no_grad():
        model.down.generators[:, 0] = 0             # four neurons that nobody reads: half a block of the layer before
    graph = check(model, (X,))
    blocks = {op.origin.module: op.circulant for op in graph.ops if isinstance(op, fg.FLinear)}
    assert blocks["up"] == 8 and blocks["down"] == 4 and blocks["q"] == 0
    assert linear_shapes(graph)["up"] == (32, 16)
    with torch.no_grad():
        model.down.generators[:, 1] = 0
    graph = check(model, (X,))
    assert linear_shapes(graph)["up"] == (24, 16)
    assert {op.circulant for op in graph.ops if isinstance(op, fg.FLinear) and op.origin.module in ("up", "down")} == {8, 4}


def test_plain_weights_that_are_circulant_are_recognised_by_value():
    model = Block()
    with torch.no_grad():
        model.up = nn.Linear(16, 24)
        model.up.weight.copy_(BlockCirculantLinear(16, 24, 8).dense_weight())
    graph = check(model, (X,))
    assert [op.circulant for op in graph.ops if isinstance(op, fg.FLinear) and op.origin.module == "up"] == [8]
