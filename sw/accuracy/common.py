"""What the accuracy commands share."""

import json
from contextlib import contextmanager

import click

__all__ = ["calibrate_option", "counted", "decibels", "limit_option", "run_golden", "seq_option", "show"]

#: Inputs that go to the golden model at a time, so that progress is seen.
_PART = 32

calibrate_option = click.option("--calibrate", "calibrate_file", metavar="FILE",
                                help="Sentences, one a line, that scales are chosen from (default: those that ship).")


def seq_option(default):
    """`--seq N`, the length of the compiled program."""
    return click.option("--seq", default=default, show_default=True, type=click.IntRange(min=1),
                        help="Tokens of the compiled program; longer texts are cut.")


def limit_option(what):
    """`--limit N`: only the first so many."""
    return click.option("--limit", type=click.IntRange(min=1), help=f"Only the first {what}.")


def show(figures):
    """Print figures as one JSON object, numbers with four decimals."""
    click.echo(json.dumps({name: round(value, 4) if isinstance(value, float) else value
                           for name, value in figures.items()}, indent=2))


@contextmanager
def counted(what, total, unit):
    """A progress bar; yields a function that takes how many more are done."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=unit, mininterval=1) as bar:
        yield bar.update


def run_golden(program, inputs, unit):
    """First results of many ``(args, kwargs)`` on the golden model, in order, with a progress bar."""
    found = []
    with counted("golden model", len(inputs), unit) as done:
        for start in range(0, len(inputs), _PART):
            part = inputs[start:start + _PART]
            found += [result.outputs[0] for result in program.run_many(part, backend="golden")]
            done(len(part))
    return found


def decibels(found, wanted):
    """Signal-to-noise ratio of ``found`` against the float values ``wanted``."""
    import numpy as np

    noise = float(((found - wanted) ** 2).sum())
    return 10 * float(np.log10((wanted**2).sum() / noise)) if noise else float("inf")
