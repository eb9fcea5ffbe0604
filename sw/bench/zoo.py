"""Models that `weft bench model` knows by name where no trained weights ship: usual shapes, random weights.

Cycles depend on shapes alone, and whether RTL and golden model agree does not depend on what was learnt; the weights
are nevertheless as large as trained ones, so that activations, attention and saturation look like those of a real model.
"""

from math import sqrt

__all__ = ["bert_base", "gpt2", "random_ids", "random_images", "vit_tiny"]


def bert_base(layers=12, hidden=768, heads=12, vocabulary=30522):
    """`BertModel` without pooler: token ids to the last hidden state; 110 M parameters."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=4 * hidden, initializer_range=1 / sqrt(hidden))
    return _made(lambda: BertModel(config, add_pooling_layer=False))


def vit_tiny(layers=12, hidden=192, heads=3):
    """`ViTForImageClassification` of DeiT-Tiny's shape: images of 224 x 224, 197 tokens, 1,000 classes."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                       intermediate_size=4 * hidden, num_labels=1000, initializer_range=1 / sqrt(hidden))
    return _made(lambda: ViTForImageClassification(config))


def gpt2(layers=12, hidden=768, heads=12, vocabulary=50257, positions=1024):
    """`GPT2LMHeadModel` of the small size, vocabulary projection tied to the embedding; 124 M parameters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=vocabulary, n_positions=positions, n_embd=hidden, n_layer=layers, n_head=heads,
                        initializer_range=1 / sqrt(hidden))
    return _made(lambda: GPT2LMHeadModel(config))


def _made(build, seed=0):
    """The model in eval mode. Biases and norms, which libraries start at zero and one, are drawn as well."""
    import torch

    from weft.text import quiet_transformers

    with quiet_transformers(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build().eval()
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def random_ids(vocabulary, shape, seed=0):
    """Token ids int64[shape], a torch tensor."""
    import torch

    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def random_images(shape, seed=0):
    """Normalized pixels float32[shape], a torch tensor."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
