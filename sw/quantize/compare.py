"""Compare choices of quantization on three models: all-MiniLM-L6-v2, the digits ViT and the Shakespeare Llama.

`scripts/compare_quantization CHOICES ...`, each in the form of ``weft compile --quantize``. Computes with the quantized graph,
whose integers are the accelerator's. The models' data are the user's; what is not given is left out.
"""

from pathlib import Path

import click
import numpy as np

from weft.hw.config import Config
from weft.quantize.options import read_options

__all__ = ["compare_digits", "compare_minilm", "compare_shakespeare", "main"]

_SEQ = 64


def _by_torchao(model, batches):
    """The model after torchao's calibration on up to 96 batches and conversion."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from weft.quantize.pt2e import AcceleratorQuantizer

    with torch.no_grad():
        prepared = prepare_pt2e(torch.export.export(model, *batches[0]).module(), AcceleratorQuantizer())
        for args, kwargs in batches[:96]:
            prepared(*args, **kwargs)
        return convert_pt2e(prepared)


def _quantized(model, batches, options):
    """The quantized graph; without options, of the model that torchao has quantized."""
    from weft.frontend import import_model
    from weft.quantize import quantize

    config = Config.load("base")
    if options is None:
        model = _by_torchao(model, batches)
    return quantize(import_model(model, *batches[0]), batches, options, config.key_block, config.panel)


def _first(graph, args, kwargs):
    """First result of a quantized graph."""
    tensors, state = graph.host.prepare(args, kwargs)
    return graph.host.finish(graph.run(tensors), state)[0]


def _ratio(wanted, got):
    """Signal-to-noise ratio in dB."""
    wanted = np.asarray(wanted, np.float64)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()))


def compare_minilm(data, choices, limit=None):
    """For each of ``choices`` (`QuantOptions`, None for torchao's quantization) and sentence pairs with scores in file
    ``data``: the rank correlation of cosines with the scores ("STS-B"), and one minus the cosine between float and quantized
    embeddings ("1 - cos"). Yields a dict for each choice."""
    from weft.accuracy.pairs import read_pairs, spearman
    from weft.text import calibration_sentences, load_folder, minilm_folder, pool

    left, right, scores = (column[:limit] for column in read_pairs(data))
    sentences = sorted({*left, *right})
    model = load_folder(minilm_folder(), head=False)
    wanted = {text: model.embed(text, _SEQ) for text in sentences}
    batches = [((), model.inputs(text, _SEQ)) for text in calibration_sentences()]
    for options in choices:
        graph, got = _quantized(model.module, batches, options), {}
        for text in sentences:
            inputs = model.inputs(text, _SEQ)
            got[text] = pool(_first(graph, (), inputs), int(inputs["attention_mask"].sum()))
        cosines = [got[a] @ got[b] for a, b in zip(left, right, strict=True)]
        yield {"STS-B": spearman(cosines, scores), "1 - cos": 1 - float(np.mean([got[t] @ wanted[t] for t in sentences]))}


def compare_digits(choices, limit=None):
    """The same for the test images of the digits classifier: share of right labels and logits against float in dB."""
    import torch

    from weft.models import digits, pixels
    from weft.train.digits import load_images

    model = digits()
    train_images, images, _, labels = load_images()
    images, labels = images[:limit], labels[:limit]
    with torch.no_grad():
        wanted = model(pixel_values=pixels(images)).logits.numpy()
    batches = [((), {"pixel_values": pixels(train_images[n:n + 1])}) for n in range(64)]
    for options in choices:
        graph = _quantized(model, batches, options)
        got = np.concatenate([_first(graph, (), {"pixel_values": pixels(image[None])}) for image in images])
        yield {"digits": float((got.argmax(1) == labels).mean()), "digits dB": _ratio(wanted, got)}


def compare_shakespeare(data, choices, limit=None):
    """The same for the part of a text that the character model did not see: perplexity a character in windows of its
    context, how much that is above float's in %, and logits in dB. Calibrated on 8 windows of the part it saw."""
    import torch

    from weft.models import shakespeare
    from weft.train.command import read_text
    from weft.train.shakespeare import CONTEXT, HELD_OUT

    model, tokenizer = shakespeare()
    ids = torch.tensor(tokenizer.encode(read_text(data)).ids)
    seen = int(len(ids) * (1 - HELD_OUT))
    starts = np.linspace(0, seen - CONTEXT, 8).astype(int)
    kwargs = {"use_cache": False}
    batches = [((ids[start:start + CONTEXT][None],), kwargs) for start in starts]
    held = ids[seen:]
    windows = list(held[:len(held) // CONTEXT * CONTEXT].view(-1, 1, CONTEXT))
    windows = windows if limit is None else windows[::max(1, len(windows) // limit)]

    def loss(logits, window):
        return float(torch.nn.functional.cross_entropy(torch.as_tensor(logits)[:-1], window[0, 1:]))

    with torch.no_grad():
        wanted = [model(window, **kwargs).logits[0].numpy() for window in windows]
    before = np.mean([loss(*pair) for pair in zip(wanted, windows, strict=True)])
    for options in choices:
        graph = _quantized(model, batches, options)
        got = [_first(graph, (window,), kwargs)[0] for window in windows]
        after = np.mean([loss(*pair) for pair in zip(got, windows, strict=True)])
        yield {"perplexity": float(np.exp(after)), "above float %": 100 * float(np.exp(after - before) - 1),
               "text dB": _ratio(np.array(wanted), np.array(got))}


@click.command()
@click.argument("choices", nargs=-1)
@click.option("--stsb", type=Path, metavar="FILE", help="Lines 'sentence,sentence,score' for all-MiniLM-L6-v2.")
@click.option("--text", type=Path, metavar="FILE", help="The text that the Shakespeare model was trained on.")
@click.option("--pt2e", is_flag=True, help="Also the models as torchao's PT2E flow quantizes them.")
@click.option("--limit", type=click.IntRange(min=2), help="Only so many pairs, images and windows.")
def main(choices, stsb, text, pt2e, limit):
    """Print a table with a line for the defaults and one for each of CHOICES, such as '*=calibration:minmax,migration:0'."""
    texts = ["defaults", *choices, *(["torchao"] if pt2e else [])]
    options = [read_options([]), *(read_options([choice]) for choice in choices), *([None] if pt2e else [])]
    columns = [compare_digits(options, limit)]
    columns += [compare_minilm(stsb, options, limit)] if stsb else []
    columns += [compare_shakespeare(text, options, limit)] if text else []
    for number, (choice, results) in enumerate(zip(texts, zip(*columns, strict=True), strict=True)):
        values = {name: value for result in results for name, value in result.items()}
        if number == 0:
            click.echo(" | ".join(["choices", *values]))
        click.echo(" | ".join([choice, *(f"{value:.4f}" for value in values.values())]))


if __name__ == "__main__":
    from weft.entry import run

    run(main, "scripts/compare_quantization")
