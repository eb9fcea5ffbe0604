"""The trained models that ship with the package, as float PyTorch models, and how their inputs are made.

Each is a folder in the layout of Hugging Face (config.json, model.safetensors with float16 weights, and for text
a tokenizer.json), so `weft compile --model` takes it too. The scripts in `weft.train` made them.
"""

from collections import Counter
from importlib.resources import files
from pathlib import Path

from weft.hw.errors import InputError

__all__ = ["character_tokenizer", "digits", "folder", "pixels", "shakespeare"]

NAMES = ("digits", "shakespeare")


def folder(name):
    """Path of the folder of a shipped model, "digits" or "shakespeare"; InputError for another name."""
    if name not in NAMES:
        raise InputError(f"no model {name!r} ships with the package; there are {' and '.join(NAMES)}")
    return Path(str(files(__name__))) / name


def digits():
    """The digits classifier: a `ViTForImageClassification` in eval mode, float32.

    `model(pixel_values=x).logits` is float32[images, 10] for `x = pixels(images)`.
    """
    from transformers import ViTForImageClassification

    from weft.text import quiet_transformers

    with quiet_transformers():
        return ViTForImageClassification.from_pretrained(folder("digits"), dtype="float32").eval()


def pixels(images):
    """What the digits classifier takes: float32 tensor [images, 1, 8, 8] from -1 to 1, of values from 0 to 16.

    Args:
        images: array [images, 8, 8], as `sklearn.datasets.load_digits().images` has them.
    """
    import torch

    return torch.as_tensor(images, dtype=torch.float32).unsqueeze(1) / 8 - 1


def shakespeare():
    """The character model and its tokenizer: `(LlamaForCausalLM in eval mode, float32; tokenizers.Tokenizer)`.

    `tokenizer.encode(text).ids` are the token ids, one a character, and `tokenizer.decode(ids)` is the text again.
    """
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    from weft.text import quiet_transformers

    path = folder("shakespeare")
    with quiet_transformers():
        model = LlamaForCausalLM.from_pretrained(path, dtype="float32").eval()
    return model, Tokenizer.from_file(str(path / "tokenizer.json"))


def character_tokenizer(text):
    """A `tokenizers.Tokenizer` with a token for each character of the text, numbered in the order of code points.

    Characters that the text does not have are read as its most frequent one, in most texts the space: a model of
    characters has no better guess, and a prompt with one of them still works.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    counts = Counter(text)
    vocabulary = {character: i for i, character in enumerate(sorted(counts))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=counts.most_common(1)[0][0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer
