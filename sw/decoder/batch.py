"""Logits of many texts of one length by the golden model, computed side by side: for measuring on data sets."""

import numpy as np

from weft.hw.errors import InputError
from weft.lower.host import pack_input, unpack_output
from weft.lower.positions import POSITION

__all__ = ["golden_logits"]

#: Texts that the golden model computes at once; more only cost memory.
_BATCH = 16


def golden_logits(program, ids, progress=None):
    """Logits of every token: float32[texts, tokens, vocabulary], the bits that `Session.step` gives for each text.

    ``program``: a `weft.DecoderProgram`; ``ids``: integers [texts, tokens] below its vocabulary, at most ``max_length``
    tokens; ``progress``: called with the number of texts done since the last call. The tokens go through the program
    "prefill", as many of them in each run as it takes.

    Raises InputError for ids of another shape or out of range.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or not 1 <= ids.shape[1] <= program.max_length:
        raise InputError(f"token ids must be integers of shape [texts, 1 to {program.max_length}], not "
                         f"{ids.dtype}{list(ids.shape)}")
    if ids.size and not 0 <= ids.min() <= ids.max() < program.vocabulary:
        raise InputError(f"token ids from {ids.min()} to {ids.max()} are out of range: the model has "
                         f"{program.vocabulary} entries")
    result = np.empty((*ids.shape, program.steps["prefill"].logits.features), np.float32)
    for start in range(0, len(ids), _BATCH):
        part = ids[start:start + _BATCH]
        result[start:start + len(part)] = _logits(program, part)
        if progress is not None:
            progress(len(part))
    return result


def _logits(program, ids):
    config, step, machine = program.config, program.steps["prefill"], program.golden("prefill")
    state = [buffer.name for buffer in step.image.buffers if buffer.kind == "state"]
    caches, results = {}, []
    for position in range(0, ids.shape[1], step.rows):
        part = ids[:, position:position + step.rows]
        rows = np.zeros((len(ids), step.rows, 1), np.int32)
        rows[:, :part.shape[1], 0] = part
        run = machine.run({step.ids.name: np.stack([pack_input(config, step.ids, text) for text in rows]), **caches},
                          {POSITION: position})
        caches = {name: run.buffers[name].copy() for name in state}
        integers = unpack_output(config, step.logits, run.outputs[step.logits.name])
        results.append((integers[:, :part.shape[1]].astype(np.int64) - program.zero) * program.scale)
    return np.concatenate(results, axis=1).astype(np.float32)
