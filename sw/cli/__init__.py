"""The `weft` command line.

Each command imports what it needs when it runs, so that `weft generate` never loads torch.
"""

import sys

import click

from weft import __version__
from weft.cli import benches, hardware, programs
from weft.hw.errors import WeftError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="weft")
def cli():
    """Generate transformer accelerators, compile PyTorch models for them, simulate and verify bit for bit."""


for command in (hardware.generate, programs.compile_command, programs.run, programs.verify, programs.accuracy,
                programs.predict, programs.disassemble, hardware.info, hardware.regress, benches.bench):
    cli.add_command(command)


def main(arguments=None):
    """Run the command line and exit: 0 success, 1 a regression failed or interrupted, 2 wrong input.

    An error that is the user's to mend is one sentence on stderr, without a traceback.
    """
    try:
        status = cli.main(args=arguments, prog_name="weft", standalone_mode=False)
    except WeftError as error:
        click.echo(f"weft: {error}", err=True)
        status = 2
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = 2
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        click.echo(f"{where.command_path if where else 'weft'}: {error.format_message()}", err=True)
        status = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("weft: interrupted", err=True)
        status = 1
    except BrokenPipeError:
        # The reader (`head`) has seen enough; keep the interpreter from complaining when it flushes.
        sys.stdout = None
        status = 0
    sys.exit(status if isinstance(status, int) else 0)
