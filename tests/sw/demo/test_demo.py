"""The demonstrations' command line; the sentences run in `scripts/demo` itself."""

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from weft.demo import compressing, main
from weft.demo.bars import bars


def run(*arguments, capsys):
    """(exit status, stdout, stderr)"""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_text_is_written_on_the_rtl(capsys, monkeypatch, rtl_machine):
    # For two tokens, a simulation that is quick to build.
    monkeypatch.setattr("weft.sim.rtl.RtlMachine", rtl_machine)
    status, out, err = run("generate", "--prompt", "ROMEO:\nI ", "--max-new-tokens", "2", capsys=capsys)
    assert status == 0 and "3/3 writing on the RTL" in out and "\n\nROMEO:\nI " in out
    written = out.split("\n\nROMEO:\nI ")[1].split("\n\n2 tokens;")[0]
    assert len(written) == 2
    assert "prompt of 9 tokens: " in out and "each token after it: " in out and "where the cycles went" in out
    assert "x roofline" in out and "Warning" not in err


@pytest.mark.parametrize("arguments, words", [
    (["--text", "a"], "give --text at least twice"), (["sentences", "--text", "a"], "give --text at least twice"),
    (["--config", "huge", "--text", "a", "--text", "b"], "huge"), (["generate", "--config", "huge"], "huge"),
    (["generate", "--max-new-tokens", "0"], "--max-new-tokens"), (["generates"], "generates"),
    (["compress", "--config", "huge"], "huge"), (["compress", "--epochs", "0"], "--epochs"),
])
def test_wrong_options_are_refused_at_once(capsys, arguments, words):
    status, _, err = run(*arguments, capsys=capsys)
    assert status == 2 and words in err and len(err.strip().splitlines()) == 1


def test_ways_to_store_weights_are_compared(capsys, monkeypatch, tmp_path):
    # The accelerator that the benches of compressed weights (``sw/bench``) build.
    options = {name: compressing.OPTIONS[name] for name in ("circulant", "four_bit")}
    monkeypatch.setattr(compressing, "OPTIONS", options)
    monkeypatch.setattr(compressing, "WAYS", (compressing.WAYS[0], compressing.WAYS[-1]))
    status, out, err = run("compress", "--config", "tiny", "--limit", "12", "--images", "1", "--out", str(tmp_path), capsys=capsys)
    assert status == 0 and "on the 4x4 accelerator (tiny four_bit circulant=4), 12 test images; 1 of them on the RTL" in out
    rows = {line[:22].strip(): line[22:].split() for line in out.splitlines() if "int8" in line or "4-bit" in line}
    assert rows["dense int8"][:3] == ["131,968", "(100", "%)"] and "(52" in rows["4-bit, groups of 32"]
    assert "Warning" not in err
    picture = ElementTree.parse(tmp_path / "compress.svg")
    assert len(picture.findall(".//{*}rect")) == 1 + 3 * 2 + 2


def test_models_of_each_way():
    from weft.models import digits
    from weft.train.digits import load_images
    from weft.weights import circulant_block, pattern_of

    images, _, labels, _ = load_images()
    training = compressing._Training(images[:64], labels[:64], 1)
    weights = {}
    for way in compressing.WAYS:
        model = way.make(digits(), training, SimpleNamespace(circulant=compressing.OPTIONS["circulant"](16, 16)))
        layers = [m for name, m in model.named_modules() if hasattr(m, "in_features") and name != "classifier"]
        assert len(layers) == 4 * 6
        weights[way.name] = [np.asarray((m.dense_weight() if hasattr(m, "dense_weight") else m.weight).detach()) for m in layers]
    assert all(pattern_of(w).name == "2:4" for w in weights["2:4 sparse"])
    assert all(circulant_block(w) == 8 for w in weights["block-circulant"])
    assert compressing.OPTIONS["circulant"](4, 8) == (4,)
    assert all(pattern_of(w).name == "dense" and not circulant_block(w) for w in weights["dense int8"])


def test_bars_are_as_high_as_numbers():
    picture = ElementTree.fromstring(bars(["a", "b & c"], {"x": [10, 40], "y": [0.0, 0.5]}))
    heights = [float(r.get("height")) for r in picture.findall(".//{*}rect")[1:5]]
    assert heights[1] == 4 * heights[0] == heights[3] and heights[2] == 0
    assert [t.text for t in picture.findall(".//{*}text")][-2:] == ["a", "b & c"]
