"""Fine-tune all-MiniLM-L6-v2 with a classification head on sentences and their sentiment (SST-2).

`scripts/train_sst2 --data DIR`, a folder with train.tsv and dev.tsv: lines of a sentence, a tab, and 0 or 1. What is
written is a Hugging Face folder with the tokenizer.
"""

import csv
import io
import shutil
from pathlib import Path

import click
import numpy as np

from weft.entry import run
from weft.files import read_text
from weft.hw.errors import CompileError, InputError
from weft.train.command import out_option, output_folder, parameters, save, seed_option
from weft.train.steps import descend

__all__ = ["accuracy", "batches", "load_classifier", "main", "read_sentences", "train"]

BATCH = 32
LEARNING_RATE = 5e-5

# Tokens that a sentence is cut to; the longest sentence of SST-2 has 67.
LONGEST = 128

# Sentences from which pruning learns what the layers' inputs look like.
CALIBRATION = 256


def read_sentences(path):
    """Sentences and labels of a TSV file: `(list of str, int64[sentences])`; a first line without a label is a header.

    Raises:
        InputError: no such file, a line of another form, or no sentence at all.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"data file {path} does not exist; lines of a sentence, a tab, and 0 or 1 are needed")
    sentences, labels = [], []
    for number, row in enumerate(csv.reader(io.StringIO(read_text(path)), delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        if not row:
            continue
        if len(row) != 2 or row[1] not in ("0", "1"):
            if number == 1:
                continue
            raise InputError(f"{path}, line {number}: a sentence, a tab, and 0 or 1 are needed, found {row!r}")
        sentences.append(row[0])
        labels.append(int(row[1]))
    if not sentences:
        raise InputError(f"data file {path} holds no sentence")
    return sentences, np.array(labels)


def load_classifier(folder):
    """`(AutoModelForSequenceClassification with two labels, tokenizers.Tokenizer)` of a local Hugging Face folder.

    A folder without a classification head gets one with random weights. CompileError when the folder is not usable.
    """
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification

    from weft.text import quiet_transformers

    folder = Path(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CompileError(f"model folder {folder} has no tokenizer.json")
    with quiet_transformers():
        try:
            model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, local_files_only=True,
                                                                       dtype="float32")
        except (OSError, ValueError) as error:
            raise CompileError(f"model folder {folder}: {' '.join(str(error).split())}") from error
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding(pad_id=model.config.pad_token_id or 0)
    return model.eval(), tokenizer


def batches(tokenizer, sentences, order, size=BATCH):
    """Model inputs of `size` sentences at a time, padded to the longest: yields `(indices, kwargs)`."""
    import torch

    for start in range(0, len(order), size):
        chosen = order[start:start + size]
        encoded = tokenizer.encode_batch([sentences[i] for i in chosen])
        yield chosen, {"input_ids": torch.tensor([tokens.ids for tokens in encoded]),
                       "attention_mask": torch.tensor([tokens.attention_mask for tokens in encoded])}


def accuracy(model, tokenizer, sentences, labels):
    """Share of sentences that the model gives the right label."""
    import torch
    from tqdm import tqdm

    # Sentences of a length together: less padding.
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    right = 0
    with torch.no_grad(), tqdm(total=len(order), desc="testing", unit="sentence", mininterval=1) as bar:
        for chosen, inputs in batches(tokenizer, sentences, order):
            right += int((model(**inputs).logits.argmax(-1).numpy() == labels[chosen]).sum())
            bar.update(len(chosen))
    return right / len(labels)


def train(model, tokenizer, sentences, labels, epochs, seed, steps=None):
    """Train with AdamW and a learning rate that falls linearly to 0; at most `steps` batches of 32."""
    import torch
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    total = epochs * -(-len(sentences) // BATCH)
    total = total if steps is None else min(steps, total)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    stream = (batch for _ in range(epochs) for batch in batches(tokenizer, sentences, rng.permutation(len(sentences))))
    model.train()
    with tqdm(range(total), desc="training", unit="step", mininterval=1) as bar:
        for _, (chosen, inputs) in zip(bar, stream, strict=False):
            error = model(**inputs, labels=torch.as_tensor(labels[chosen])).loss
            descend(error, model, optimizer, schedule)
            bar.set_postfix(loss=f"{error.item():.3f}", refresh=False)
    model.eval()


@click.command()
@click.option("--data", required=True, type=Path, metavar="DIR", help="Folder with train.tsv and dev.tsv.")
@click.option("--model", "model_dir", type=Path, metavar="DIR",
              help="Local Hugging Face folder to start from (default: all-MiniLM-L6-v2).")
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(min=1), help="Passes over the sentences.")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many batches of 32.")
@click.option("--sparsity", type=click.Choice(["2:4", "1:4"]),
              help="Prune the linear layers of the model first; what was pruned stays zero.")
@seed_option
@out_option("build/sst2")
def main(data, model_dir, epochs, steps, sparsity, seed, out):
    """Fine-tune a sentence model as a classifier; prints its accuracy on the sentences of dev.tsv."""
    sentences, labels = read_sentences(data / "train.tsv")
    dev_sentences, dev_labels = read_sentences(data / "dev.tsv")
    output_folder(out)
    import torch

    from weft.text import minilm_folder

    model_dir = model_dir or minilm_folder()
    torch.manual_seed(seed)
    model, tokenizer = load_classifier(model_dir)
    click.echo(f"{len(labels):,} sentences to train on, {len(dev_labels):,} to test on; "
               f"{parameters(model):,} parameters")

    def finetune(model):
        train(model, tokenizer, sentences, labels, epochs, seed, steps)

    if sparsity is None:
        finetune(model)
    else:
        from weft.nn.pruning import sparsify

        some = range(min(CALIBRATION, len(sentences)))
        calibration = [((), inputs) for _, inputs in batches(tokenizer, sentences, some, 1)]
        sparsify(model, sparsity, calibration=calibration, finetune=finetune, inplace=True)
    save(model, out, torch.float32)
    shutil.copy(model_dir / "tokenizer.json", out / "tokenizer.json")
    click.echo(f"accuracy: dev {accuracy(model, tokenizer, dev_sentences, dev_labels):.4f}")


if __name__ == "__main__":
    run(main, "scripts/train_sst2")
