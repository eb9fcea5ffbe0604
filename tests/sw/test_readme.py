"""Commands that the documentation names have the options that it gives them."""

import re
from pathlib import Path

import click
import pytest

from weft.accuracy import accuracy
from weft.cli import cli
from weft.demo import demo
from weft.quantize.compare import main as compare_quantization

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CHANGELOG.md", "hw/README.md", "hw/boards/README.md", "sw/README.md", "sim/README.md"]
COMMANDS = {"weft": cli, "scripts/accuracy": accuracy, "scripts/demo": demo, "scripts/compare_quantization": compare_quantization}


def commands(text):
    """Words of every command of ours in a page: lines of blocks, and phrases between backticks."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.S)
    lines = [line.split("  #")[0] for block in blocks for line in block.splitlines()]
    rest = re.sub(r"```\w*\n.*?```", "", text, flags=re.S)
    for line in [*lines, *re.findall(r"`([^`]+)`", rest)]:
        words = line.split()
        if words and words[0] in COMMANDS:
            yield words


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page):
    found = 0
    for first, *words in commands((ROOT / page).read_text(encoding="utf-8")):
        command = COMMANDS[first]
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        options = [re.match(r"--[\w-]+", word)[0] for word in words if re.match(r"--\w", word)]
        if isinstance(command, click.Group) and command is not demo:
            assert not options and not (words and re.fullmatch(r"[a-z]+", words[0])), (first, words)
            continue
        if command is demo:         # without a command it compares sentences
            command = demo.commands["sentences"]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert set(options) <= known, (first, command.name, words)
        found += 1
    assert found
