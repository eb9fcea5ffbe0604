"""Files that appear whole or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from weft.hw.errors import InputError

__all__ = ["check_writable", "whole_file"]


def _refusal(path, error):
    return InputError(f"cannot write {path}: {error.strerror or error}")


def check_writable(path):
    """`path` as a Path, its folder made, so that a long computation does not end in vain.

    Raises InputError where no file can be written there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _refusal(path, error) from None
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    return path


@contextmanager
def whole_file(path):
    """Yields the path of a temporary file beside `path` that takes its place if all goes well, and is removed otherwise.

    Raises InputError where the file cannot be written.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        os.close(handle)
        try:
            yield Path(temporary)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refusal(path, error) from error
