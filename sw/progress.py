"""Progress on stderr for work that has no steps of its own to count."""

import sys
import threading
import time
from contextlib import contextmanager

__all__ = ["step"]

# Longer silences make people wonder; a log needs fewer lines than a terminal.
_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = 15.0


@contextmanager
def step(what):
    """Say what is going on, every so often that it still is, and at the end how long it took.

    On a terminal one line is kept up to date, elsewhere lines are added.
    """
    stream = sys.stderr
    live = stream.isatty()
    started = time.perf_counter()
    finished = threading.Event()

    def show(end):
        text = f"{what} ... {time.perf_counter() - started:.0f} s"
        print(f"\r{text}" if live else text, end=end, file=stream, flush=True)

    def watch():
        while not finished.wait(_TERMINAL_SECONDS if live else _LOG_SECONDS):
            show("" if live else "\n")

    print(f"{what} ...", end="" if live else "\n", file=stream, flush=True)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except BaseException:
        finished.set()
        watcher.join()
        if live:
            print(file=stream)
        raise
    finished.set()
    watcher.join()
    elapsed = time.perf_counter() - started
    print(f"\r{what}: {elapsed:.1f} s    " if live else f"{what}: {elapsed:.1f} s", file=stream, flush=True)
