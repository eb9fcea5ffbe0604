"""`scripts/accuracy stsb`: sentence pairs with scores, such as STS-B's dev set."""

import csv
import io
from pathlib import Path

import click
import numpy as np

from weft.accuracy.common import calibrate_option, limit_option, run_golden, seq_option, show
from weft.cli.options import config_option, load_config
from weft.files import read_text
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["read_pairs", "spearman", "stsb"]


def read_pairs(path):
    """Sentence pairs and scores of a CSV or TSV file: `(sentences, sentences, float64[pairs])`.

    The columns are sentence, sentence, score; a first line without a number in the score's place is a header.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"data file {path} does not exist; name a file of lines 'sentence,sentence,score'")
    left, right, scores = [], [], []
    reader = csv.reader(io.StringIO(read_text(path)), delimiter="\t" if path.suffix == ".tsv" else ",")
    for number, row in enumerate(reader, 1):
        if not row:
            continue
        try:
            first, second, score = row[0], row[1], float(row[2])
        except (IndexError, ValueError):
            if number == 1:
                continue
            raise InputError(f"{path}, line {number}: three columns (sentence, sentence, score) are needed, "
                             f"found {row!r}") from None
        left.append(first)
        right.append(second)
        scores.append(score)
    if len(scores) < 2:
        raise InputError(f"{path} holds {len(scores)} sentence pairs; a rank correlation needs at least 2")
    return left, right, np.array(scores)


def spearman(a, b):
    """Spearman's rank correlation of two sequences; equal values share the mean of their ranks."""
    def ranks(values):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        return (last - (counts - 1) / 2)[inverse]

    return float(np.corrcoef(ranks(np.asarray(a)), ranks(np.asarray(b)))[0, 1])


@click.command()
@click.option("--data", required=True, metavar="FILE", help="Lines of sentence, sentence, score.")
@click.option("--model", "model_dir", metavar="DIR", help="Local Hugging Face folder (default: all-MiniLM-L6-v2).")
@seq_option(64)
@config_option
@calibrate_option
@limit_option("pairs")
def stsb(data, model_dir, seq, config_name, calibrate_file, limit):
    """Spearman correlation of embedding cosines with the scores of sentence pairs.

    Texts longer than the program are cut for the accelerator; the float model is measured with the same cut and
    without it.
    """
    from tqdm import tqdm

    from weft.text import compile_folder, encode, load_folder, minilm_folder, pool

    left, right, scores = (column[:limit] for column in read_pairs(data))
    sentences = sorted({*left, *right}, key=len)
    config, model_dir = load_config(config_name), model_dir or minilm_folder()
    with step(f"compiling for {seq} tokens") as tell:
        program = compile_folder(model_dir, seq, config, calibrate_file, progress=tell, head=False)
    results = run_golden(program, [encode(program, text, truncate=True) for text in sentences], "sentence")
    golden = {text: pool(result) for text, result in zip(sentences, results, strict=True)}
    model = load_folder(model_dir, head=False)
    cut, whole = {}, {}
    for text in tqdm(sentences, desc="float model", unit="sentence", mininterval=1):
        tokens = model.inputs(text)["input_ids"].shape[1]
        whole[text] = model.embed(text)
        cut[text] = whole[text] if tokens <= seq else model.embed(text, seq)

    def correlation(embeddings):
        return spearman([embeddings[a] @ embeddings[b] for a, b in zip(left, right, strict=True)], scores)

    show({"pairs": len(scores), "seq": seq, "config": config.name, "spearman": correlation(golden),
          "spearman_float_same_length": correlation(cut), "spearman_float": correlation(whole)})
