"""The training commands: a few steps of each, what they write, and what they refuse."""

import json
import random
import sys

import pytest
import torch
from click.testing import CliRunner

from weft.entry import run
from weft.hw.errors import InputError
from weft.train import digits, shakespeare, sst2
from weft.weights import circulant_block, pattern_of


def invoke(command, *arguments):
    """Output of a command; what it raises is raised."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False,
                              standalone_mode=False).output


def test_digits_are_learnt_and_written_as_a_folder(tmp_path):
    output = invoke(digits.main, "--epochs", 3, "--out", tmp_path / "digits")
    assert float(output.split("test ")[-1].split(",")[0]) > 0.2        # 0.1 by chance
    assert json.loads((tmp_path / "digits" / "config.json").read_text())["dtype"] == "float16"


def test_moved_digits_stay_digits():
    images, *_ = digits.load_images()
    from weft.models import pixels

    still = pixels(images[:64])
    moved = digits._moved(still, torch.Generator().manual_seed(1))
    assert moved.shape == still.shape and moved.min() >= -1 - 1e-5 and moved.max() <= 1 + 1e-5
    assert 0.01 < (moved - still).abs().mean() < 0.3


def test_a_text_is_learnt_and_written_as_a_folder(tmp_path):
    text = tmp_path / "text.txt"
    rng = random.Random(3)
    text.write_text("".join(rng.choice(("the cat ", "a dog ", "one bird ")) for _ in range(600)))
    output = invoke(shakespeare.main, "--data", text, "--steps", 6, "--out", tmp_path / "out")
    letters = len(set(text.read_text()))
    assert 1 < float(output.split("perplexity ")[-1]) < letters
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_model_with_circulant_layers_is_written_as_any_other(tmp_path):
    from transformers import LlamaForCausalLM

    text = tmp_path / "text.txt"
    text.write_text("the cat and a dog " * 300)
    invoke(shakespeare.main, "--data", text, "--steps", 2, "--circulant", 4, "--out", tmp_path / "out")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype="float32")
    blocks = {path.split(".")[-1]: circulant_block(module.weight) for path, module in model.named_modules()
              if isinstance(module, torch.nn.Linear)}
    assert blocks == {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 0, "lm_head": 0,
                      "gate_proj": 4, "up_proj": 4, "down_proj": 4}
    weight = model.model.layers[0].mlp.up_proj.weight
    assert 0.9 < weight.std() / model.model.layers[0].self_attn.q_proj.weight.std() < 1.1


def test_the_loss_is_the_mean_over_windows_of_the_same_length():
    class Uniform(torch.nn.Module):
        """Gives five characters the same probability."""
        def forward(self, input_ids, labels):
            assert input_ids.shape[1] == 256
            loss = torch.nn.functional.cross_entropy(torch.zeros(input_ids.numel(), 5), labels.flatten())
            return type("Output", (), {"loss": loss})

    ids = torch.arange(256 * 5 + 100) % 5
    assert shakespeare.loss(Uniform(), ids, batch=2) == pytest.approx(torch.log(torch.tensor(5.0)).item())


def test_a_small_classifier_is_trained_from_a_folder(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "good", "bad", "film", "a"]
    base = tmp_path / "base"
    BertModel(BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=32)).save_pretrained(base)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(base / "tokenizer.json"))
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("a good film\t1\na bad \"film\t0\n" * 40)
    output = invoke(sst2.main, "--data", tmp_path, "--model", base, "--steps", 2, "--out", tmp_path / "out")
    assert "80 sentences" in output and 0 <= float(output.split("dev ")[-1]) <= 1
    model, _ = sst2.load_classifier(tmp_path / "out")
    assert model.config.num_labels == 2 and (tmp_path / "out" / "tokenizer.json").is_file()
    invoke(sst2.main, "--data", tmp_path, "--model", tmp_path / "out", "--steps", 2, "--sparsity", "2:4", "--out",
           tmp_path / "sparse")
    model, _ = sst2.load_classifier(tmp_path / "sparse")
    patterns = {pattern_of(module.weight).name for module in model.modules() if isinstance(module, torch.nn.Linear)}
    assert patterns == {"2:4"}


def test_sentences_are_read_as_they_are(tmp_path):
    path = tmp_path / "f.tsv"
    path.write_text('sentence\tlabel\na "quote\t1\n\nplain\t0\n')
    sentences, labels = sst2.read_sentences(path)
    assert sentences == ['a "quote', "plain"] and labels.tolist() == [1, 0]
    path.write_text("plain\t0\nother\t2\n")
    with pytest.raises(InputError, match="line 2"):
        sst2.read_sentences(path)
    path.write_text("sentence\tlabel\n")
    with pytest.raises(InputError, match="no sentence"):
        sst2.read_sentences(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no UTF-8"):
        sst2.read_sentences(path)


def test_data_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match="none.txt cannot be read"):
        invoke(shakespeare.main, "--data", tmp_path / "none.txt")
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(InputError, match="9 characters; 2570 are needed"):
        invoke(shakespeare.main, "--data", tmp_path / "short.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no UTF-8"):
        invoke(shakespeare.main, "--data", tmp_path / "bytes.txt")
    with pytest.raises(InputError, match="train.tsv does not exist"):
        invoke(sst2.main, "--data", tmp_path)


def test_a_missing_scikit_learn_is_said_with_the_line_that_installs_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(sys, "argv", ["train_digits"])
    with pytest.raises(SystemExit) as stop:
        run(digits.main, "scripts/train_digits")
    assert stop.value.code == 2
    assert "pip install scikit-learn" in capsys.readouterr().err
