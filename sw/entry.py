"""How every command line of Weft ends: exit status, and errors in one sentence."""

import sys
import warnings

import click

from weft.hw.errors import WeftError, WeftWarning
from weft.progress import say

__all__ = ["run"]


def run(command, name, arguments=None):
    """Run a click command under a program name and exit: 0 success, 1 failed or interrupted, 2 wrong input.

    An error that is the user's to mend is one sentence on stderr, without a traceback, and so is a `WeftWarning`.
    ``arguments`` are by default those of the process.
    """
    short = name.rpartition("/")[2]
    shown = warnings.showwarning

    def show(message, category, *where, **options):
        if issubclass(category, WeftWarning):
            say(f"{short}: {message}")
        else:
            shown(message, category, *where, **options)

    warnings.showwarning = show
    try:
        status = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except WeftError as error:
        click.echo(f"{short}: {error}", err=True)
        status = 2
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = 2
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        click.echo(f"{where.command_path if where else name}: {error.format_message()}", err=True)
        status = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{short}: interrupted", err=True)
        status = 1
    except (BrokenPipeError, SystemExit):
        # click makes an exit of it. The reader (`head`) has seen enough; keep the interpreter from complaining when it flushes.
        sys.stdout = None
        status = 0
    except OSError as error:
        if error.strerror is None:
            raise
        click.echo(f"{short}: " + (f"{error.filename}: " if error.filename else "") + error.strerror, err=True)
        if error.filename is None:
            sys.stdout = None       # perhaps it is what cannot be written
        status = 2
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no exception of its own for it.
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        what = f": {error}" if isinstance(error, MemoryError) and str(error) else ""
        click.echo(f"{short}: not enough memory{what}", err=True)
        status = 2
    finally:
        warnings.showwarning = shown
    sys.exit(status if isinstance(status, int) else 0)
