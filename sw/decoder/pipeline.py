"""From a causal PyTorch model to a `weft.decoder.DecoderProgram`."""

import inspect

import numpy as np

from weft.decoder.program import DecoderProgram, Step
from weft.decoder.steps import Steps
from weft.hw.errors import CompileError

__all__ = ["causal_graph", "compile_decoder", "windows"]

#: Panels of keys that the first version of a program attends to.
_FEWEST_PANELS = 2


def compile_decoder(model, *, config, max_length, calibration, quantization=None, progress=None):
    """See `weft.compile_decoder`; ``config`` is a `weft.Config`, ``quantization`` are
    `weft.quantize.QuantOptions`, ``progress`` is a function."""
    from weft.lower import lower_stepped, prepare
    from weft.quantize import quantize

    if max_length < 2:
        raise CompileError(f"max_length must be at least 2, so that a token can follow another, not {max_length}")
    progress("exporting the model")
    graph, kwargs = causal_graph(model, max_length)
    batches, tokens = windows(calibration, max_length)
    if not batches:
        raise CompileError("calibration holds no sequence; at least one tensor of token ids is needed")
    progress(f"calibrating on {len(batches)} sequences")
    quantized = quantize(graph, [((ids,), kwargs) for ids in batches], quantization, key_block=config.key_block,
                         wide_block=config.panel, tokens=tokens)
    vocabulary, scale, zero = _ends(quantized, max_length)
    progress("scheduling")
    unit = config.dma_words
    length = -(-max_length // unit) * unit
    chunk = min(2 * max(config.rows // unit, 1) * unit, length)
    steps = Steps(prepare(quantized, config), max_length, chunk)
    lowered = lower_stepped({name: steps.versions(rows, _FEWEST_PANELS * config.panel)
                             for name, rows in (("prefill", chunk), ("decode", unit))}, config)
    # Both programs read the same weights, so they leave out the same.
    skipped = {layer: macs // max_length for layer, macs in lowered["decode"].skipped.items()}
    removed, removed_attention = quantized.removed
    # The report needs the program that takes most rows.
    return DecoderProgram({name: Step(one.image, one.inputs[0], one.outputs[0], one.probes if name == "prefill" else None)
                           for name, one in lowered.items()},
                          max_length, vocabulary, scale, zero, steps.macs_per_row - sum(skipped.values()), steps.macs_per_key,
                          lowered["decode"].compulsory_bytes - unit * steps.row_bytes, steps.row_bytes, steps.cache_row_bytes,
                          sum(skipped.values()) + removed // max_length,
                          removed_attention // (max_length * (max_length + 1) // 2),
                          layer_macs={layer: [row - skipped.get(layer, 0), key]
                                      for layer, (row, key) in steps.layer_macs.items()})


def causal_graph(model, max_length):
    """The float graph of ``model`` without a cache for ``max_length`` token ids, and the keyword arguments it takes."""
    import torch

    from weft.frontend import import_model

    # Models that can keep a cache of their own are asked not to.
    accepted = inspect.signature(model.forward).parameters
    kwargs = {"use_cache": False} if "use_cache" in accepted else {}
    return import_model(model, (torch.zeros(1, max_length, dtype=torch.int64),), kwargs), kwargs


def windows(calibration, length):
    """``(int64 tensors [1, length], how many tokens of each count)``; longer sequences are cut, shorter ones padded."""
    import torch

    padded, counts = [], []
    for batch in calibration:
        ids = torch.as_tensor(np.asarray(batch))
        if ids.ndim not in (1, 2) or ids.dtype.is_floating_point or not ids.numel():
            raise CompileError(f"sequences must be token ids of shape [tokens] or [sequences, tokens], not "
                               f"{str(ids.dtype).removeprefix('torch.')}{list(ids.shape)}")
        for sequence in ids.reshape(-1, ids.shape[-1]):
            for part in sequence.split(length):
                window = torch.zeros(1, length, dtype=torch.int64)
                window[0, :part.numel()] = part
                padded.append(window)
                counts.append(part.numel())
    return padded, counts


def _ends(graph, length):
    """``(number of token ids, scale, zero)`` of what goes in and comes out; raises CompileError for other models."""
    host = graph.host
    binding = host.bindings[0]
    if len(host.bindings) != 1 or binding["kind"] != "ids" or host.steps[binding["value"]]["op"] != "input":
        raise CompileError("the model computes from more than its token ids, which a decoder must not")
    first = host.outputs[0]
    if first.get("tensor") is None or first["index"] is not None or first["shape"][:-1] != [1, length]:
        raise CompileError(f"the model's first result, of shape {first['shape']}, is not one row for each of its "
                           f"{length} tokens, in order")
    return binding["limit"], host.arrays[first["scale"]], first["zero"]
