"""The demonstrations' command line; the sentences run in `scripts/demo` itself."""

import pytest

from weft.demo import main


def run(*arguments, capsys):
    """(exit status, stdout, stderr)"""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_text_is_written_on_the_rtl(capsys):
    status, out, err = run("generate", "--prompt", "ROMEO:\nI ",
                           "--max-new-tokens", "2", capsys=capsys)
    assert status == 0 and "3/3 writing on the RTL" in out and "\n\nROMEO:\nI " in out
    written = out.split("\n\nROMEO:\nI ")[1].split("\n\n2 tokens;")[0]
    assert len(written) == 2
    assert "prompt of 9 tokens: " in out and "each token after it: " in out and "where the cycles went" in out
    assert "x roofline" in out and "Warning" not in err


@pytest.mark.parametrize("arguments, words", [
    (["--text", "a"], "give --text at least twice"), (["sentences", "--text", "a"], "give --text at least twice"),
    (["--config", "huge", "--text", "a", "--text", "b"], "huge"), (["generate", "--config", "huge"], "huge"),
    (["generate", "--max-new-tokens", "0"], "--max-new-tokens"), (["generates"], "generates"),
])
def test_wrong_options_are_refused_at_once(capsys, arguments, words):
    status, _, err = run(*arguments, capsys=capsys)
    assert status == 2 and words in err and len(err.strip().splitlines()) == 1
