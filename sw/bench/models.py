"""Benches of whole models: those that ship, usual shapes with random weights, local Hugging Face folders."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft.bench import zoo
from weft.bench.figures import decode_figures, no_words, prefill_figures, program_figures
from weft.bench.options import with_choices
from weft.hw.errors import InputError
from weft.weights import SPARSITIES

__all__ = ["MODELS", "Named", "bench_model"]

SENTENCE = ("The small boat crossed the bay before the storm and reached the old harbour, "
            "where the whole village was waiting with lamps and blankets for the tired crew.")
#: Positions of the decoders that are compiled for a bench, or as many as it needs if those are more.
POSITIONS = 256
#: Inputs that random weights are calibrated on.
_CALIBRATION = 4


@dataclass(frozen=True)
class Named:
    """A model that `weft bench model` knows.

    ``measure(seq, config, tell, quantization)``: its figures; ``seq``: tokens unless the user says otherwise; ``least``, ``most``:
    how many it can have, where that is known before it is made; ``prunes``: ``measure`` takes ``weights`` as well; ``formats``:
    of its own weights, as in `weft.workloads.gemm`.
    """
    measure: object
    seq: int
    least: int = 1
    most: int | None = None
    prunes: bool = False
    formats: tuple = ()


def bench_model(name, seq=None, *, config, quantization=None, weights="dense", tell=no_words):
    """A model of `MODELS`, or the text model in a local Hugging Face folder; the figures as a dict.

    ``seq``: tokens, by default those of `MODELS`; a decoding bench takes one token more after them. ``quantization``: as in
    `weft.compile`; a named configuration gets the options that the weight formats need, and the roofline counts weights as they
    are stored. ``weights``: "dense", or "2:4" or "1:4": linear layers of an encoder with random weights (`Named.prunes`) are
    pruned by magnitude, and a named configuration gets the sparsity that they need. ``tell``: called with words on the state
    of the work. Besides what `figures.py` gives: ``compile_seconds`` of processor time, and ``peak_memory_mib`` of this process
    so far.
    """
    known, options = MODELS.get(name), {}
    formats = known.formats if known else ()
    if weights != "dense":
        if known is None or not known.prunes or weights not in SPARSITIES:
            raise InputError(f"model {name} with {weights} weights: {', '.join(n for n, m in MODELS.items() if m.prunes)} can be "
                             f"measured with {' or '.join(SPARSITIES)} weights")
        formats, options = (weights,), {"weights": weights}
    if known is None and not Path(name).is_dir():
        raise InputError(f"no model {name!r}: there are {', '.join(MODELS)}, and local Hugging Face folders")
    if known is None and seq is None:
        raise InputError(f"model folder {name}: the number of tokens is missing")
    config = with_choices(config, quantization, *formats)
    if known is None:
        return {"workload": "model", "model": name, "seq": seq, **_folder(name, seq, config, tell, quantization),
                **_peak_memory()}
    seq = known.seq if seq is None else seq
    if not known.least <= seq <= (known.most or seq):
        raise InputError(f"{name} takes {known.least} to {known.most or 'any number of'} tokens, not {seq}")
    return {"workload": "model", "model": name, "seq": seq, **options, **known.measure(seq, config, tell, quantization, **options),
            **_peak_memory()}


def _compiled(function, *arguments, tell, **options):
    """``(program, figures of the compilation)``."""
    began = time.process_time()
    program = function(*arguments, progress=tell, **options)
    return program, {"compile_seconds": round(time.process_time() - began, 1)}


def _peak_memory():
    """MiB that this process has had in memory at most; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return {"peak_memory_mib": None}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20}


def _folder(folder, seq, config, tell, quantization=None):
    """A text model on a text that fills ``seq`` tokens."""
    from weft.text import compile_folder, encode

    program, cost = _compiled(compile_folder, folder, seq, config, tell=tell, quantization=quantization)
    # Long enough for any length, then cut: padding would leave work out that utilization counts.
    args, kwargs = encode(program, " ".join([SENTENCE] * (seq // 16 + 1)), truncate=True)
    return program_figures(program, args, kwargs, tell) | cost


def _minilm(*arguments):
    from weft.text import minilm_folder

    return _folder(minilm_folder(), *arguments)


def _shakespeare_decode(seq, config, tell, quantization=None):
    from weft.models import folder
    from weft.text import compile_decoder_folder, encode_prompt

    program, cost = _compiled(compile_decoder_folder, folder("shakespeare"), max(POSITIONS, seq + 1), config, tell=tell,
                              quantization=quantization)
    text = " ".join([SENTENCE] * (seq // len(SENTENCE) + 2))
    return decode_figures(program, np.array(encode_prompt(program, text)[:seq + 1]), tell) | cost


def _encoder(make, inputs, config, tell, quantization, weights):
    """Figures of the model that ``make()`` returns, pruned to ``weights``; ``inputs(model, seed)``: keyword arguments, each seed
    others."""
    import weft

    tell("making the model")
    model = make()
    if weights != "dense":
        weft.sparsify(model, weights, saliency="magnitude", inplace=True)
    batches = [((), inputs(model, seed)) for seed in range(_CALIBRATION + 1)]
    program, cost = _compiled(weft.compile, model, *batches[0], config=config, calibration=batches[1:], tell=tell,
                              quantization=quantization)
    del model       # its weights are not needed while the program runs
    return program_figures(program, *batches[0], tell) | cost


def _bert_base(seq, config, tell, quantization=None, weights="dense", **sizes):
    def inputs(model, seed):
        return {"input_ids": zoo.random_ids(model.config.vocab_size, (1, seq), seed)}

    return _encoder(lambda: zoo.bert_base(**sizes), inputs, config, tell, quantization, weights)


def _vit_tiny(seq, config, tell, quantization=None, weights="dense", **sizes):
    def inputs(model, seed):
        return {"pixel_values": zoo.random_images((1, 3, 224, 224), seed)}

    return _encoder(lambda: zoo.vit_tiny(**sizes), inputs, config, tell, quantization, weights)


def _gpt2(length, config, tell, quantization, block=0, **sizes):
    """GPT-2 for ``length`` positions, and figures of its compilation; ``block``: size of circulant blocks, 0: dense."""
    import weft

    tell("making the model")
    model = zoo.gpt2(**sizes)
    if block:
        model = weft.circulant(model, block, modules="transformer.h.*", inplace=True)
    calibration = [zoo.random_ids(model.config.vocab_size, (length,), seed) for seed in range(1, _CALIBRATION + 1)]
    return _compiled(weft.compile_decoder, model, config=config, max_length=length, calibration=calibration, tell=tell,
                     quantization=quantization)


def _gpt2_prefill(seq, config, tell, quantization=None, **sizes):
    program, cost = _gpt2(max(POSITIONS, seq), config, tell, quantization, **sizes)
    return prefill_figures(program, zoo.random_ids(program.vocabulary, (seq,)).numpy(), tell) | cost


def _gpt2_decode(seq, config, tell, quantization=None, **sizes):
    program, cost = _gpt2(max(POSITIONS, seq + 1), config, tell, quantization, **sizes)
    return decode_figures(program, zoo.random_ids(program.vocabulary, (seq + 1,)).numpy(), tell) | cost


def _gpt2_circulant_decode(seq, config, tell, quantization=None, block=8, **sizes):
    """The same with circulant blocks in all layers but the vocabulary projection."""
    return _gpt2_decode(seq, config, tell, quantization, block=block, **sizes)


#: By name; all but minilm and shakespeare-decode have random weights (`weft.bench.zoo`).
MODELS = {
    "minilm": Named(_minilm, 32),
    "bert-base": Named(_bert_base, 128, most=512, prunes=True),
    "vit-tiny": Named(_vit_tiny, 197, least=197, most=197, prunes=True),
    "gpt2-prefill": Named(_gpt2_prefill, 32, most=1024),
    "gpt2-decode": Named(_gpt2_decode, 128, most=1023),
    "gpt2-circulant-decode": Named(_gpt2_circulant_decode, 128, most=1023, formats=("circulant:8",)),
    "shakespeare-decode": Named(_shakespeare_decode, 128, most=255),
}
