"""Files of generated designs."""

import errno
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

__all__ = ["write_files"]


def write_files(out_dir, contents):
    """Writes ``{file name: text or bytes}`` into a folder, which is made if need be; nobody ever sees half of a file, and where
    one cannot be written, none is. Returns their paths; raises OSError."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        temporaries = {}
        for name, content in contents.items():
            path = folder / name
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{path} is a folder")
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=name)
            stack.callback(Path(temporary).unlink, missing_ok=True)
            with os.fdopen(handle, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
            os.chmod(temporary, 0o644)
            temporaries[path] = temporary
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    return list(temporaries)
