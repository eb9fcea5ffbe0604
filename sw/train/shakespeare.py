"""Train the character model that ships with the package: a small Llama on a plain text.

`scripts/train_shakespeare --data FILE`. The last tenth of the text is held out; its perplexity is printed: exp of the
mean cross-entropy a character, each predicted within its window of 256 from the characters before it.
"""

import math
from pathlib import Path

import click

from weft.entry import run
from weft.files import read_text
from weft.hw.errors import InputError
from weft.train.command import out_option, output_folder, parameters, save, seed_option
from weft.train.steps import descend

__all__ = ["CONTEXT", "configuration", "loss", "main", "split", "train", "with_circulant_layers"]

# Characters of a training window; the longest text that the model knows.
CONTEXT = 256
HELD_OUT = 0.1

BATCH = 8
LEARNING_RATE = 3e-3
WARMUP = 100


def configuration(characters):
    """Sizes of the model for a number of different characters: 0.8 M parameters, 4 query and 2 key heads of 32."""
    from transformers import LlamaConfig

    return LlamaConfig(vocab_size=characters, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
                       num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=CONTEXT,
                       tie_word_embeddings=True, use_cache=False, bos_token_id=None, eos_token_id=None)


def split(ids):
    """`(ids to train on, ids held out)` of a text's ids: the last tenth is held out."""
    cut = round(len(ids) * (1 - HELD_OUT))
    return ids[:cut], ids[cut:]


def with_circulant_layers(model, block):
    """Exchange the feed-forward layers of a fresh model, in place, for ones of circulant blocks with weights as large."""
    import torch

    from weft.nn import BlockCirculantLinear
    from weft.nn.conversion import circulant

    circulant(model, block, modules="*.mlp.*_proj", inplace=True)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BlockCirculantLinear):
                module.generators.mul_(block**0.5)      # a mean of `block` independent weights is that much smaller


def loss(model, ids, batch=32):
    """Mean cross-entropy a character in nats of `ids` int64[characters], in windows side by side.

    Characters beyond the last whole window are left out; a text shorter than a window is one window.
    """
    import torch

    window = min(CONTEXT, len(ids))
    windows = ids[:len(ids) // window * window].view(-1, window)
    total = 0.0
    with torch.no_grad():
        for part in windows.split(batch):
            total += model(input_ids=part, labels=part).loss.item() * len(part)
    return total / len(windows)


def train(model, ids, steps, seed):
    """Train on random windows of `ids` int64[characters]: AdamW, warm-up, then a cosine down to a fiftieth."""
    import torch
    from tqdm import tqdm

    generator = torch.Generator().manual_seed(seed)
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=LEARNING_RATE, betas=(0.9, 0.98))

    def rate(step):
        return min((step + 1) / WARMUP, 0.51 + 0.49 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    recent = None
    with tqdm(range(steps), desc="training", unit="step", mininterval=1) as bar:
        for step in bar:
            starts = torch.randint(len(ids) - CONTEXT + 1, (BATCH,), generator=generator)
            batch = torch.stack([ids[start:start + CONTEXT] for start in starts.tolist()])
            error = model(input_ids=batch, labels=batch).loss
            descend(error, model, optimizer, schedule)
            recent = error.item() if recent is None else 0.98 * recent + 0.02 * error.item()
            if step % 50 == 49:
                bar.set_postfix(loss=f"{recent:.3f}", refresh=False)
    model.eval()


@click.command()
@click.option("--data", required=True, type=Path, metavar="FILE", help="Plain text in UTF-8, for instance a megabyte.")
@click.option("--steps", default=4000, show_default=True, type=click.IntRange(min=1),
              help=f"Training steps of {BATCH} windows of {CONTEXT} characters.")
@click.option("--circulant", "block", type=click.IntRange(min=2), metavar="B",
              help="Make the feed-forward layers of circulant blocks of this size; they are written as any others.")
@seed_option
@out_option("build/shakespeare")
def main(data, steps, block, seed, out):
    """Train a small Llama on the characters of a text; prints the perplexity on its last tenth."""
    text = read_text(data)
    if len(text) * HELD_OUT < CONTEXT + 1:
        raise InputError(f"{data} has {len(text)} characters; {math.ceil((CONTEXT + 1) / HELD_OUT)} are needed, so "
                         f"that the held-out tenth is longer than a window of {CONTEXT}")
    output_folder(out)
    import torch
    from transformers import LlamaForCausalLM

    from weft.models import character_tokenizer

    tokenizer = character_tokenizer(text)
    ids = torch.tensor(tokenizer.encode(text).ids)
    known, rest = split(ids)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(configuration(tokenizer.get_vocab_size()))
    if block is not None:
        with_circulant_layers(model, block)
    click.echo(f"{len(text):,} characters, {tokenizer.get_vocab_size()} different ones, {len(rest):,} held out; "
               f"{parameters(model):,} parameters")
    train(model, known, steps, seed)
    if block is not None:
        from weft.nn import expanded

        expanded(model, inplace=True)
    save(model, out, torch.float16)
    tokenizer.save(str(out / "tokenizer.json"))
    # What is measured is what was written: weights rounded to float16.
    held_out = loss(model.float(), rest)
    click.echo(f"held out: {held_out:.4f} nats a character, perplexity {math.exp(held_out):.3f}")


if __name__ == "__main__":
    run(main, "scripts/train_shakespeare")
