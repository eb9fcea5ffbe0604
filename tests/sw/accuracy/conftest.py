"""Runs an accuracy command as its user does."""

import json
from functools import lru_cache

import pytest
from click.testing import CliRunner

from weft.accuracy import accuracy
from weft.models.programs import shakespeare_program

# Compiled once for all tests.
_program = lru_cache(shakespeare_program)


@pytest.fixture
def figures(monkeypatch):
    """``run(*arguments)``: the JSON object that a command prints."""
    monkeypatch.setattr("weft.models.programs.shakespeare_program",
                        lambda config, max_length=256, progress=None: _program(config, max_length))

    def run(*arguments):
        done = CliRunner().invoke(accuracy, [str(argument) for argument in arguments], catch_exceptions=False,
                                  standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout)

    return run
