"""Demonstrations of the whole path: `scripts/demo` compares sentences, `scripts/demo generate` writes text, `scripts/demo
compress` compares ways to store weights.

Exit status 0 only if every byte that the accelerator wrote was equal to the golden model's.
"""

import click

from weft.demo.compressing import compress
from weft.demo.meaning import sentences
from weft.demo.writing import generate
from weft.entry import run

__all__ = ["demo", "main"]


class _Default(click.Group):
    """A group whose first command is meant where none is named."""

    def parse_args(self, context, arguments):
        named = arguments and (arguments[0] in self.commands or arguments[0] in self.get_help_option_names(context))
        return super().parse_args(context, arguments if named else [next(iter(self.commands)), *arguments])


@click.group(cls=_Default, context_settings={"help_option_names": ["-h", "--help"]})
def demo():
    """The whole path on real models, on the RTL, every byte compared; without a command: sentences."""


for command in (sentences, generate, compress):
    demo.add_command(command)


def main(arguments=None):
    """The command line; exits with its status."""
    run(demo, "scripts/demo", arguments)
