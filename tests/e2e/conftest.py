"""Small transformers with random weights, and their quantized graphs."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "sw" / "lower"))


@pytest.fixture(scope="session")
def bert():
    """``make(hidden, layers, heads, ffn)``: a BERT with random weights and outliers as trained ones have."""
    def make(hidden=24, layers=1, heads=2, ffn=40, positions=64):
        import torch
        from transformers import BertConfig, BertModel

        torch.manual_seed(hidden + layers)
        model = BertModel(BertConfig(vocab_size=60, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                                     intermediate_size=ffn, max_position_embeddings=positions), add_pooling_layer=False)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 2:
                    parameter.mul_(3)
                elif name.endswith("LayerNorm.weight"):
                    parameter[::7].mul_(4)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def sentences():
    """``make(count, batch, tokens, seed)``: token ids and masks of different lengths, as ``(args, kwargs)``."""
    def make(count, batch, tokens, seed=0):
        import torch

        generator = torch.Generator().manual_seed(seed)
        result = []
        for _ in range(count):
            ids = torch.randint(0, 60, (batch, tokens), generator=generator)
            lengths = torch.randint(1, tokens + 1, (batch, 1), generator=generator)
            mask = (torch.arange(tokens)[None] < lengths).long()
            result.append(((), {"input_ids": ids, "attention_mask": mask}))
        return result

    return make
