"""A small decoder of our own, compiled once."""

import pytest
import torch
from torch import nn

import weft

VOCABULARY, LENGTH = 31, 29


class Decoder(nn.Module):
    """Written as a user might: packed projections, positions added, attention by hand in the second layer."""

    def __init__(self, width=16, heads=2, causal=True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.tokens, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(LENGTH, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.packed = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.mixed = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(2))

    def attend(self, layer, x):
        batch, length, width = x.shape
        q, k, v = (part.reshape(batch, length, self.heads, -1).transpose(1, 2)
                   for part in self.packed[layer](x).split(width, -1))
        if layer == 0 or not self.causal:
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
            scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(hidden, float("-inf"))
            y = scores.softmax(-1) @ v
        return self.mixed[layer](y.transpose(1, 2).reshape(batch, length, width))

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for layer in range(2):
            x = x + self.attend(layer, self.norms[2 * layer](x))
            x = x + self.narrow[layer](nn.functional.gelu(self.wide[layer](self.norms[2 * layer + 1](x))))
        return self.norms[4](x) @ self.tokens.weight.T


def texts(count, length=LENGTH, seed=0):
    return list(torch.randint(0, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="session")
def decoder():
    torch.manual_seed(0)
    return Decoder().eval()


@pytest.fixture(scope="session")
def program(decoder):
    return weft.compile_decoder(decoder, config="tiny", max_length=LENGTH, calibration=texts(4))
