"""Local model folders, tokenizing, pooling, and progress."""

import io
import json
import shutil
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from weft import text
from weft.hw.errors import CompileError, InputError, ProgramError
from weft.progress import step

def test_a_folder_gives_a_model_with_the_inputs_its_forward_takes(tmp_path, text_model_folder):
    bert = text.load_folder(text_model_folder())
    assert bert.names == ("input_ids", "attention_mask", "token_type_ids")
    distil = text.load_folder(text_model_folder(kind="distilbert"))
    assert distil.names == ("input_ids", "attention_mask")
    assert not bert.module.training
    inputs = bert.inputs("a boat", 6)
    assert inputs["input_ids"].tolist() == [[2, 4, 5, 3, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]
    assert bert.inputs("a boat")["input_ids"].tolist() == [[2, 4, 5, 3]]
    # Cutting keeps the closing token.
    assert bert.inputs("a boat crosses the bay", 4)["input_ids"].tolist() == [[2, 4, 5, 3]]


def test_the_head_that_a_folder_names_is_loaded(tmp_path, text_model_folder):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(text_model_folder(), num_labels=3)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text((text_model_folder() / "tokenizer.json").read_text())
    model = text.load_folder(tmp_path)
    assert model.module(**model.inputs("a boat"))[0].shape == (1, 3)
    bare = text.load_folder(tmp_path, head=False)
    assert bare.module(**bare.inputs("a boat"))[0].shape == (1, 4, 16)


def test_the_float_embedding_does_not_depend_on_padding(tmp_path, text_model_folder):
    model = text.load_folder(text_model_folder())
    short, padded = model.embed("a boat crosses"), model.embed("a boat crosses", 12)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(short, padded, atol=1e-5)
    assert np.abs(short - model.embed("a boat")).max() > 1e-3


def test_encoding_with_the_tokenizer_in_a_program(tmp_path, text_model_folder):
    model = text.load_folder(text_model_folder())
    program = SimpleNamespace(
        assets={"tokenizer.json": model.tokenizer.to_str().encode()},
        inputs=[SimpleNamespace(name=name, shape=(1, 6)) for name in ("input_ids", "attention_mask")])
    args, kwargs = text.encode(program, "the bay")
    assert args == () and list(kwargs) == ["input_ids", "attention_mask"]
    assert kwargs["input_ids"].tolist() == [[2, 7, 8, 3]] and kwargs["input_ids"].dtype == np.int64
    with pytest.raises(InputError, match="7 tokens.*at most 6"):
        text.encode(program, "a boat crosses the bay")
    _, kwargs = text.encode(program, "a boat crosses the bay", truncate=True)
    assert kwargs["input_ids"].tolist() == [[2, 4, 5, 6, 7, 3]]
    with pytest.raises(InputError, match="is no UTF-8"):
        text.encode(program, "a \udcff")
    with pytest.raises(InputError, match="is no UTF-8"):
        text.encode_prompt(program, "\udcff")
    with pytest.raises(ProgramError, match="no tokenizer"):
        text.encode(SimpleNamespace(assets={}, inputs=program.inputs), "a")
    for damaged in (b"{}", b"\xff"):
        with pytest.raises(ProgramError, match="tokenizer cannot be read"):
            text.encode(SimpleNamespace(assets={"tokenizer.json": damaged}, inputs=program.inputs), "a")


def test_what_is_wrong_with_a_folder_is_said(tmp_path, text_model_folder):
    with pytest.raises(CompileError, match="nowhere does not exist"):
        text.load_folder(tmp_path / "nowhere")
    with pytest.raises(CompileError, match="no config.json"):
        text.load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(CompileError, match="no-such-model"):
        text.load_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(CompileError, match="config.json: Expecting value"):
        text.load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": "many"}))
    with pytest.raises(CompileError, match="model folder .*: "):
        text.compile_folder(tmp_path, 4, config=None)
    with pytest.raises(CompileError, match="25 tokens.*24"):
        text.compile_folder(text_model_folder(), 25, config=None)
    folder = tmp_path / "copy"
    shutil.copytree(text_model_folder(), folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CompileError, match="copy has no usable tokenizer: Model missing"):
        text.load_folder(folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(CompileError, match="copy has no usable tokenizer: none of .*vocab.txt"):
        text.load_folder(folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:len(weights) // 2])
    with pytest.raises(CompileError, match="copy: Error while deserializing header"):
        text.load_folder(folder)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match="no sentence"):
        text.calibration_sentences(tmp_path / "empty.txt")
    with pytest.raises(InputError, match="missing.txt"):
        text.calibration_sentences(tmp_path / "missing.txt")


def test_shipped_sentences():
    sentences = text.calibration_sentences()
    assert len(sentences) == len(set(sentences)) == 64


def test_pool_is_the_normalised_mean():
    hidden = np.array([[[3.0, 0.0], [3.0, 8.0], [99.0, 99.0]]], dtype=np.float32)
    np.testing.assert_allclose(text.pool(hidden, 2), [0.6, 0.8], atol=1e-6)


def test_step_says_what_and_how_long(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with step("weaving"):
        pass
    assert stream.getvalue().splitlines() == ["weaving ...", "weaving: 0.0 s"]
    monkeypatch.setattr("weft.progress._LOG_SECONDS", 0.05)
    with step("weaving") as tell:
        tell("7 of 9")
        time.sleep(0.12)
    assert "weaving ... 0 s (7 of 9)" in stream.getvalue().splitlines()
