"""Compare ways to prune all-MiniLM-L6-v2 without training it: `scripts/compare_pruning --stsb FILE`.

The data are the user's: lines of a sentence, a sentence and a score, such as STS-B's dev set.
"""

from pathlib import Path

import click

from weft.nn.pruning import SALIENCIES, sparsify
from weft.weights import SPARSITIES

__all__ = ["compare", "main"]


def compare(data, patterns=tuple(SPARSITIES), saliencies=SALIENCIES, every=1):
    """Yields ``(pattern, saliency, Spearman correlation)`` of the float model's cosines with the scores in file ``data``.

    The first is the dense model, ``("dense", "", correlation)``. All linear layers are pruned, with the sentences that ship
    for calibration. ``every``: only each n-th pair.
    """
    from dataclasses import replace

    from weft.accuracy.pairs import read_pairs, spearman
    from weft.text import calibration_sentences, load_folder, minilm_folder

    left, right, scores = (column[::every] for column in read_pairs(data))
    dense = load_folder(minilm_folder(), head=False)
    batches = [((), dense.inputs(text)) for text in calibration_sentences()]

    def correlation(module):
        model = replace(dense, module=module)
        found = {text: model.embed(text) for text in sorted({*left, *right})}
        return spearman([found[a] @ found[b] for a, b in zip(left, right, strict=True)], scores)

    yield "dense", "", correlation(dense.module)
    for pattern in patterns:
        for saliency in saliencies:
            yield pattern, saliency, correlation(sparsify(dense.module, pattern, calibration=batches, saliency=saliency))


@click.command()
@click.option("--stsb", required=True, type=Path, metavar="FILE", help="Lines 'sentence,sentence,score'.")
@click.option("--saliency", "saliencies", multiple=True, type=click.Choice(SALIENCIES), help="Only these.")
@click.option("--every", default=1, show_default=True, type=click.IntRange(min=1), help="Only each n-th pair.")
def main(stsb, saliencies, every):
    """Print the correlation of a sentence model's cosines with scores, dense and pruned in several ways."""
    for pattern, saliency, value in compare(stsb, saliencies=saliencies or SALIENCIES, every=every):
        click.echo(f"{pattern:<6}{saliency:<12}{value:.4f}")


if __name__ == "__main__":
    from weft.entry import run

    run(main, "scripts/compare_pruning")
