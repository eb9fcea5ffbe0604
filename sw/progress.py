"""Progress on stderr for work that has no steps of its own to count."""

import sys
import threading
import time
from contextlib import contextmanager

__all__ = ["say", "step"]

# Longer silences make people wonder; a log needs fewer lines than a terminal.
_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = 15.0

# Erases the rest of a terminal's line.
_CLEAR = "\x1b[K"


def say(words):
    """A line on stderr; a line that `step` keeps up to date there gives way, and comes again below."""
    print(f"\r{_CLEAR}{words}" if sys.stderr.isatty() else words, file=sys.stderr, flush=True)


@contextmanager
def step(what):
    """Say what is going on, every so often that it still is, and at the end how long it took.

    On a terminal one line is kept up to date, elsewhere lines are added. Yields a function that takes a few words
    on the state of the work, shown from the next time on.
    """
    stream = sys.stderr
    live = stream.isatty()
    started = time.perf_counter()
    finished = threading.Event()
    detail = ""

    def tell(words):
        nonlocal detail
        detail = f" ({words})"

    def show(end):
        text = f"{what} ... {time.perf_counter() - started:.0f} s{detail}"
        print(f"\r{text}{_CLEAR}" if live else text, end=end, file=stream, flush=True)

    def watch():
        while not finished.wait(_TERMINAL_SECONDS if live else _LOG_SECONDS):
            show("" if live else "\n")

    print(f"{what} ...", end="" if live else "\n", file=stream, flush=True)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield tell
    except BaseException:
        finished.set()
        watcher.join()
        if live:
            print(file=stream)
        raise
    finished.set()
    watcher.join()
    elapsed = time.perf_counter() - started
    print(f"\r{what}: {elapsed:.1f} s{_CLEAR}" if live else f"{what}: {elapsed:.1f} s", file=stream, flush=True)
