"""How command lines end."""

import sys
import warnings

import click
import pytest

from weft.entry import run
from weft.hw.errors import InputError, WeftWarning


@pytest.mark.parametrize("error, status, words", [
    (None, 0, ""),
    (InputError("no such thing"), 2, "tool: no such thing\n"),
    (click.UsageError("too few"), 2, "scripts/tool: too few\n"),
    (MemoryError("Unable to allocate 7 TiB"), 2, "tool: not enough memory: Unable to allocate 7 TiB\n"),
    (RuntimeError("[enforce fail at alloc.cpp:1] DefaultCPUAllocator: can't allocate memory"), 2, "tool: not enough memory\n"),
    (PermissionError(13, "Permission denied", "/root/x.weft"), 2, "tool: /root/x.weft: Permission denied\n"),
    (KeyboardInterrupt(), 1, "tool: interrupted\n"),
    (click.exceptions.Exit(3), 3, ""),
    (BrokenPipeError(), 0, ""),
    (BrokenPipeError(32, "Broken pipe"), 0, ""),
    (OSError(28, "No space left on device"), 2, "tool: No space left on device\n"),
])
def test_status_and_one_sentence(capsys, monkeypatch, error, status, words):
    @click.command()
    def command():
        if error is not None:
            raise error

    monkeypatch.setattr("sys.stdout", sys.stdout)      # what a broken pipe does to it is undone
    with pytest.raises(SystemExit) as stop:
        run(command, "scripts/tool", [])
    assert stop.value.code == status
    assert capsys.readouterr().err.lstrip() == words


def test_warnings_of_weft_are_one_sentence(capsys):
    @click.command()
    def command():
        warnings.warn("as int8", WeftWarning)

    with pytest.raises(SystemExit), warnings.catch_warnings():
        warnings.simplefilter("always")
        run(command, "scripts/tool", [])
    assert capsys.readouterr().err == "tool: as int8\n"
