"""The `weft` command line.

Each command imports what it needs when it runs, so that `weft generate` never loads torch.
"""

import click

from weft import __version__
from weft.cli import benches, boards, hardware, profiles, programs
from weft.entry import run

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="weft")
def cli():
    """Generate transformer accelerators, compile PyTorch models for them, simulate and verify bit for bit."""


for command in (hardware.generate, boards.build, programs.compile_command, programs.run, programs.verify, programs.accuracy,
                programs.predict, profiles.profile, programs.disassemble, programs.export, hardware.info,
                hardware.regress, benches.bench):
    cli.add_command(command)


def main(arguments=None):
    """Run the command line and exit: 0 success, 1 a regression or a build failed or interrupted, 2 wrong input."""
    run(cli, "weft", arguments)
