"""`scripts/accuracy perplexity` and `generation`: the character model that ships."""

import math
from pathlib import Path

import click
import numpy as np

from weft.accuracy.common import counted, decibels, limit_option, show
from weft.cli.options import config_option, load_config
from weft.files import read_text
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["PROMPTS", "cross_entropy", "generation", "perplexity", "same_beginning"]

#: Texts that are continued; some are speakers of the plays, some are nowhere in them.
PROMPTS = ("ROMEO:\n", "KING RICHARD III:\n", "First Citizen:\nWe ", "The ", "To be, or not to be", "JULIET:\nO ",
           "What news from the north?\n", "MENENIUS:\nSir, ", "Now is the ", "A boat crosses the bay")

#: A text counts as equal to the float model's when so many first tokens are.
_FIRST = 20


@click.command()
@click.option("--data", required=True, type=Path, metavar="FILE", help="Plain text; its last tenth is measured.")
@config_option
@limit_option("windows of the held-out text")
def perplexity(data, config_name, limit):
    """Perplexity a character of the Shakespeare model that ships, on the held-out tenth of the text it learnt from.

    As in training, the last tenth is cut into windows of 256 characters side by side, and each character but a window's
    first is predicted from those before it in the window. The golden model runs the program "prefill" of the compiled
    decoder, the one that `scripts/demo generate` runs, with its int8 cache; characters that do not fill a window are left
    out.
    """
    import torch

    from weft.decoder.batch import golden_logits
    from weft.models import shakespeare
    from weft.models.programs import shakespeare_program
    from weft.train.shakespeare import CONTEXT, split

    model, tokenizer = shakespeare()
    ids = np.array(split(tokenizer.encode(read_text(data)).ids)[1])
    windows = ids[:len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)[:limit]
    if not len(windows):
        raise InputError(f"the last tenth of {data} has {len(ids)} characters; at least {CONTEXT} are needed")
    config = load_config(config_name)
    with step("compiling") as tell:
        program = shakespeare_program(config, CONTEXT, progress=tell)
    with counted("golden model", len(windows), "window") as done:
        golden = golden_logits(program, windows, progress=done)
    floats = np.empty_like(golden)
    with counted("float model", len(windows), "window") as done, torch.no_grad():
        for number, window in enumerate(windows):
            floats[number] = model(input_ids=torch.as_tensor(window)[None]).logits[0].numpy()
            done(1)
    found, wanted = (math.exp(cross_entropy(logits, windows)) for logits in (golden, floats))
    show({"windows": len(windows), "characters": windows[:, 1:].size, "config": config.name, "perplexity": found,
          "perplexity_float": wanted, "increase_percent": 100 * (found / wanted - 1),
          "same_likeliest": float((golden.argmax(-1) == floats.argmax(-1)).mean()),
          "logits_snr_db": decibels(golden, floats)})


def cross_entropy(logits, ids):
    """Mean over windows and characters but the first, in nats: logits [windows, tokens, vocabulary] predict the next of
    ids [windows, tokens]."""
    total = 0.0
    for scores, window in zip(logits, ids, strict=True):
        scores = scores[:-1].astype(np.float64)
        top = scores.max(-1)
        total += float((top + np.log(np.exp(scores - top[:, None]).sum(-1))
                        - scores[np.arange(len(scores)), window[1:]]).sum())
    return total / ids[:, 1:].size


@click.command()
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(min=1), help="Tokens of each text.")
@click.option("--rtl", "on_rtl", default=1, show_default=True, type=click.IntRange(min=0),
              help="Prompts that run on the RTL too, every byte and so every logit compared at each step.")
@config_option
def generation(max_new_tokens, on_rtl, config_name):
    """Greedy text of the Shakespeare model that ships on 10 prompts: for how many tokens it is the float model's."""
    import torch

    from weft.models import shakespeare
    from weft.models.programs import shakespeare_program
    from weft.text import encode_prompt

    config, (model, _) = load_config(config_name), shakespeare()
    with step("compiling") as tell:
        program = shakespeare_program(config, progress=tell)
    for prompt in PROMPTS:      # a number that does not fit is refused before the long steps
        program.session("golden").generate(encode_prompt(program, prompt), max_new_tokens)
    if on_rtl:
        with step("building the simulation (kept in a cache)"):
            program.prepare()
    equal, compared = [], 0
    with counted("generating", len(PROMPTS) * max_new_tokens, "token") as done:
        for number, prompt in enumerate(PROMPTS):
            session = program.session("verify" if number < on_rtl else "golden")
            ids, tokens = encode_prompt(program, prompt), []
            for token in session.generate(ids, max_new_tokens):
                tokens.append(token)
                done(1)
            compared += len(tokens) if number < on_rtl else 0
            with torch.no_grad():
                start = torch.tensor([ids])
                wanted = model.generate(start, attention_mask=torch.ones_like(start), do_sample=False,
                                        max_new_tokens=max_new_tokens)[0, len(ids):].tolist()
            equal.append(same_beginning(tokens, wanted))
    show({"prompts": len(PROMPTS), "max_new_tokens": max_new_tokens, "config": config.name,
          "first_tokens_equal_to_float": equal, f"prompts_equal_for_{_FIRST}": sum(n >= _FIRST for n in equal),
          "rtl_tokens": compared, **({"exact": True} if compared else {})})


def same_beginning(a, b):
    """How many first items of two sequences are equal."""
    return next((n for n, (left, right) in enumerate(zip(a, b, strict=False)) if left != right), min(len(a), len(b)))
