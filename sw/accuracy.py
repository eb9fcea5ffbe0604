"""Accuracy of a compiled model on data sets, through the golden model, beside the float model.

`python -m weft.accuracy stsb --data FILE` (or `scripts/accuracy`). The data are the user's: a file of sentence pairs
with a score, such as STS-B's dev set. Every byte the golden model computes is what the RTL computes.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np

from weft.hw.errors import InputError, WeftError

__all__ = ["main", "read_pairs", "spearman"]

# Runs of the golden model that share its Python overhead.
BATCH = 32


def read_pairs(path):
    """Sentence pairs and scores of a CSV or TSV file: `(sentences, sentences, float64[pairs])`.

    The columns are sentence, sentence, score; a first line without a number in the score's place is a header.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"data file {path} does not exist; name a file of lines 'sentence,sentence,score'")
    left, right, scores = [], [], []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file, delimiter="\t") if path.suffix == ".tsv" else csv.reader(file)
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


def stsb(data, model_dir, seq, config, calibrate_file=None, limit=None):
    """Spearman correlation of embedding cosines with the scores of sentence pairs; the figures as a dict.

    Texts longer than `seq` tokens are cut for the accelerator; the float model is measured with the same cut
    and without it.
    """
    from tqdm import tqdm

    from weft.progress import step
    from weft.text import compile_folder, encode, load_folder, pool

    left, right, scores = read_pairs(data)
    left, right, scores = left[:limit], right[:limit], scores[:limit]
    sentences = sorted({*left, *right}, key=len)
    with step(f"compiling for {seq} tokens") as tell:
        program = compile_folder(model_dir, seq, config, calibrate_file, progress=tell, head=False)
    golden = {}
    with tqdm(total=len(sentences), desc="golden model", unit="sentence", mininterval=1) as bar:
        for start in range(0, len(sentences), BATCH):
            part = sentences[start:start + BATCH]
            results = program.run_many([encode(program, text, truncate=True) for text in part], backend="golden")
            golden |= {text: pool(result.outputs[0]) for text, result in zip(part, results, strict=True)}
            bar.update(len(part))
    model = load_folder(model_dir, head=False)
    cut, whole = {}, {}
    for text in tqdm(sentences, desc="float model", unit="sentence", mininterval=1):
        tokens = model.inputs(text)["input_ids"].shape[1]
        whole[text] = model.embed(text)
        cut[text] = whole[text] if tokens <= seq else model.embed(text, seq)

    def correlation(embeddings):
        return spearman([embeddings[a] @ embeddings[b] for a, b in zip(left, right, strict=True)], scores)

    return {"pairs": len(scores), "seq": seq, "config": config.name, "spearman": correlation(golden),
            "spearman_float_same_length": correlation(cut), "spearman_float": correlation(whole)}


def main(arguments=None):
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["stsb"])
    parser.add_argument("--data", required=True, help="file of lines 'sentence,sentence,score'")
    parser.add_argument("--model", metavar="DIR", help="local Hugging Face folder (default: all-MiniLM-L6-v2)")
    parser.add_argument("--seq", type=int, default=64, help="tokens of the compiled program (default: 64)")
    parser.add_argument("--config", default="base", help="configuration name or file (default: base)")
    parser.add_argument("--calibrate", metavar="FILE", help="sentences, one a line (default: those that ship)")
    parser.add_argument("--limit", type=int, help="only the first pairs")
    options = parser.parse_args(arguments)
    from weft.hw.config import Config
    from weft.text import minilm_folder

    try:
        figures = stsb(options.data, options.model or minilm_folder(), options.seq, Config.load(options.config),
                       options.calibrate, options.limit)
    except WeftError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value
                      for name, value in figures.items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
