"""What the command does not take."""

import pytest

from weft.sim.fuzz.campaign import main


@pytest.mark.parametrize("arguments, words", [
    (["--count", "0"], "--count: it must be positive, not 0"), (["--minutes", "nan"], "--minutes: it must be positive, not nan"),
    (["--seed", "-1"], "--seed: it must be 0 or more, not -1"), (["--count", "many"], "invalid int value: 'many'"),
])
def test_numbers(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_a_file_that_is_no_saved_program(tmp_path, capsys):
    assert main(["--replay", str(tmp_path)]) == 2 and "is no saved program" in capsys.readouterr().err
