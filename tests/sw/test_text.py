"""Local model folders, tokenizing, pooling, and progress."""

import io
import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from weft import text
from weft.hw.errors import CompileError, InputError, ProgramError
from weft.progress import step

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "boat", "crosses", "the", "bay"]


def make_folder(folder, kind="bert"):
    """A Hugging Face folder with random weights and a word tokenizer that adds [CLS] and [SEP]."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    torch.manual_seed(1)
    if kind == "bert":
        model = BertModel(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=32, max_position_embeddings=24, pad_token_id=0))
    else:
        model = DistilBertModel(DistilBertConfig(vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=32,
                                                 max_position_embeddings=24))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    # What published tokenizers carry from their training, and what must not reach a program.
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(20)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_folder_gives_a_model_with_the_inputs_its_forward_takes(tmp_path):
    bert = text.load_folder(make_folder(tmp_path / "bert"))
    assert bert.names == ("input_ids", "attention_mask", "token_type_ids")
    distil = text.load_folder(make_folder(tmp_path / "distil", kind="distilbert"))
    assert distil.names == ("input_ids", "attention_mask")
    assert not bert.module.training
    inputs = bert.inputs("a boat", 6)
    assert inputs["input_ids"].tolist() == [[2, 4, 5, 3, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]
    assert bert.inputs("a boat")["input_ids"].tolist() == [[2, 4, 5, 3]]
    # Cutting keeps the closing token.
    assert bert.inputs("a boat crosses the bay", 4)["input_ids"].tolist() == [[2, 4, 5, 3]]


def test_the_float_embedding_does_not_depend_on_padding(tmp_path):
    model = text.load_folder(make_folder(tmp_path / "bert"))
    short, padded = model.embed("a boat crosses"), model.embed("a boat crosses", 12)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(short, padded, atol=1e-5)
    assert np.abs(short - model.embed("a boat")).max() > 1e-3


def test_encoding_with_the_tokenizer_in_a_program(tmp_path):
    model = text.load_folder(make_folder(tmp_path / "bert"))
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
    with pytest.raises(ProgramError, match="no tokenizer"):
        text.encode(SimpleNamespace(assets={}, inputs=program.inputs), "a")


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(CompileError, match="nowhere does not exist"):
        text.load_folder(tmp_path / "nowhere")
    with pytest.raises(CompileError, match="no config.json"):
        text.load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(CompileError, match="no-such-model"):
        text.load_folder(tmp_path)
    with pytest.raises(CompileError, match="25 tokens.*24"):
        text.compile_folder(make_folder(tmp_path / "bert"), 25, config=None)
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
