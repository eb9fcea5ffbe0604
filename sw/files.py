"""Files that are read or refused in a sentence, and appear whole or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from weft.hw.errors import InputError

__all__ = ["check_writable", "read_text", "whole_file"]


def _refusal(path, error):
    return InputError(f"cannot write {path}: {error.strerror or error}")


def check_writable(path):
    """`path` as a Path, for long computations that shall not end in vain; nothing is made yet.

    Raises InputError where `whole_file` could not write.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder")
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _refusal(path, error) from None
    return path


def read_text(path, what="data file"):
    """The text of a UTF-8 file, which is ``what`` in errors; InputError when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} is no UTF-8 text: {error.reason} at byte {error.start}") from None


@contextmanager
def whole_file(path):
    """Yields the path of a temporary file beside `path` that takes its place if all goes well, and is removed otherwise. The
    folder is made if need be.

    Raises InputError where the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
