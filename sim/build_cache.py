"""A folder of finished builds, each named by a hash of everything that went into it.

A build is made in a temporary folder beside its final place and renamed when complete, so an interrupted one
leaves nothing that looks finished; a lock per key lets two processes that want the same build share one.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from filelock import FileLock

__all__ = ["cache_root", "cached_build", "compiler_identity", "digest", "processor_identity"]

_UNUSED_DAYS = 60


def cache_root():
    """Folder of all builds: `$WEFT_CACHE`, else `$XDG_CACHE_HOME/weft`, else `~/.cache/weft`."""
    if root := os.environ.get("WEFT_CACHE"):
        return Path(root).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "weft"


def digest(*parts):
    """SHA-256 (hex) of a sequence of `str`, `bytes`, or nested lists, tuples and dicts of them.

    Every part is preceded by its kind and length, so that ("ab", "c") and ("a", "bc") differ.
    """
    state = hashlib.sha256()

    def feed(part):
        if isinstance(part, dict):
            part = [item for key in sorted(part) for item in (key, part[key])]
        if isinstance(part, (list, tuple)):
            state.update(b"l%d:" % len(part))
            for item in part:
                feed(item)
        else:
            raw = part if isinstance(part, bytes) else str(part).encode()
            state.update(b"b%d:" % len(raw))
            state.update(raw)

    feed(parts)
    return state.hexdigest()


@cache
def compiler_identity(compiler="g++"):
    """Text that changes when the C++ compiler does; empty when there is none."""
    path = shutil.which(compiler)
    if path is None:
        return ""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return f"{path}\n{done.stdout}"


@cache
def processor_identity():
    """Text that changes with what `-march=native` stands for: architecture, processor model and its features."""
    wanted = ("model name", "flags", "Features", "CPU part")
    facts = [platform.machine()]
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(wanted):
                facts.append(line)
            elif not line and len(facts) > 1:
                break                   # the first processor speaks for all
    except OSError:
        facts.append(platform.processor())
    return "\n".join(facts)


def cached_build(kind, key, build):
    """Return the finished build's folder, making it first when it is not there.

    Args:
        kind: short name in front of the key, for people who look into the cache.
        key: hex string from `digest`.
        build: called with an empty folder to fill; whatever it raises is passed on, and nothing is kept.

    The folder's contents must not depend on its path: it is renamed after the build.
    """
    root = cache_root()
    final = root / f"{kind}-{key[:32]}"
    if final.is_dir():
        _touch(final)
        return final
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{final.name}.lock"):
        if final.is_dir():              # made by another process while this one waited
            return final
        _drop_unused(root)
        work = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=root))
        try:
            build(work)
            work.rename(final)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return final


def _touch(folder):
    try:
        os.utime(folder)
    except OSError:
        pass                            # a read-only cache still serves


def _drop_unused(root):
    """Remove what no run has used for two months, and what interrupted builds left behind."""
    limit = time.time() - _UNUSED_DAYS * 86400
    for entry in root.iterdir():
        try:
            if entry.stat().st_mtime < limit:
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink()
        except OSError:
            continue
