"""Accuracy through the golden model, beside the float model: `scripts/accuracy NAME`, one command a data set or model.

Every byte the golden model computes is what the RTL computes. Data sets do not come with Weft; what needs one takes its
path. Each command prints one JSON object.
"""

import click

from weft.accuracy.classes import digits, sst2
from weft.accuracy.language import generation, perplexity
from weft.accuracy.pairs import stsb
from weft.accuracy.rows import attention
from weft.entry import run

__all__ = ["accuracy", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def accuracy():
    """Accuracy on the golden model, whose bytes are the RTL's, beside the float model."""


for command in (stsb, sst2, digits, perplexity, generation, attention):
    accuracy.add_command(command)


def main(arguments=None):
    """The command line; exits with its status."""
    run(accuracy, "scripts/accuracy", arguments)
