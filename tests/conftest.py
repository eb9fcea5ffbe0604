"""Options and fixtures of the whole suite."""

import os

import pytest

# The workers are as many as the cores: threads of PyTorch and NumPy beside them spin while they wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--large", action="store_true", help="also run the tests that take minutes each")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--large"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --large")
    for item in items:
        if item.get_closest_marker("large"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def rtl_machine():
    """``rtl_machine(config)``: its RTL, built once, with noise where memories promise nothing."""
    from functools import cache

    from weft.sim.rtl import RtlMachine

    return cache(lambda config: RtlMachine(config, optimize="build", noise=True))


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "boat", "crosses", "the", "bay"]


def make_text_model(folder, kind):
    """A Hugging Face folder with random weights and a word tokenizer that adds [CLS] and [SEP]."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    if kind == "bert":
        model = BertModel(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=32, max_position_embeddings=24, pad_token_id=0))
    elif kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=24,
                                           bos_token_id=2, eos_token_id=1))
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


@pytest.fixture(scope="session")
def text_model_folder(tmp_path_factory):
    """A function of `kind` ("bert", "distilbert", "gpt2") that gives such a folder; made once for each kind."""
    made = {}

    def folder(kind="bert"):
        if kind not in made:
            made[kind] = make_text_model(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return folder
