"""Running a decoder: tokens go in, logits come out, the cache stays in the accelerator's memory."""

import time
from dataclasses import dataclass

import numpy as np

from weft.hw.errors import InputError
from weft.lower.host import pack_input, unpack_output
from weft.lower.positions import POSITION
from weft.quantize.host import as_array
from weft.stats import Stats

__all__ = ["BACKENDS", "Session"]

#: "verify" runs both and compares every byte that the accelerator writes.
BACKENDS = ("rtl", "golden", "verify")


@dataclass(frozen=True)
class Run:
    """A run of the accelerator: ``name`` in ``program.steps``, its ``count`` new tokens from ``position`` on, and the
    `weft.sim.rtl.recording.Recording` of a machine that profiles (else None)."""
    name: str
    count: int
    position: int
    recording: object


class Session:
    """One text that grows.

    ``backend``: "rtl", "golden", "verify" (both; `weft.Mismatch` names the first difference), or a `weft.Board`. ``memory``,
    ``seed``: of the RTL, as in `weft.Program.run`. ``progress``: called with the cycles simulated so far. ``backend`` may be
    changed between steps, since all compute the same bits. ``machine``: a `weft.sim.rtl.RtlMachine` to use instead of the
    program's.

    Of the last run of the accelerator: ``stats``, `weft.stats.Stats`; ``last``, `Run`. ``runs``: the stats of all runs
    since the text began.
    """

    def __init__(self, program, backend="rtl", memory="reference", seed=0, progress=None, machine=None):
        if not isinstance(backend, str):
            backend, machine = "rtl", backend
        if backend not in BACKENDS:
            raise InputError(f"backend must be one of {', '.join(BACKENDS)} or a board, not {backend!r}")
        self.program, self.backend = program, backend
        self.stats = self.last = None
        self._machine = machine
        self._options = {"memory": memory, "seed": seed, "progress": progress}
        self.reset()

    def reset(self):
        """Empties the cache: the next token is at position 0."""
        self._ids = np.empty(0, np.int32)
        self._caches = {}
        self.runs = []

    @property
    def position(self):
        """Tokens taken so far."""
        return self._ids.size

    def step(self, ids):
        """Takes the next tokens; returns their logits, float32[tokens, vocabulary].

        ``ids``: integers, ``[tokens]`` or ``[1, tokens]``. How tokens are distributed over steps changes no bit.
        Raises InputError for ids out of range and for more tokens than positions are left.
        """
        ids = self._checked(ids)
        if self.position + ids.size > self.program.max_length:
            raise InputError(f"{ids.size} tokens at position {self.position} are too many: the program was compiled "
                             f"for {self.program.max_length} positions")
        return self._take(ids)

    def generate(self, prompt_ids, max_new_tokens, stop=None):
        """Starts over with a prompt; returns an iterator of up to ``max_new_tokens`` tokens, each the likeliest (of
        equals the first), computed as it is asked for.

        ``stop``: token ids after which the text ends, by default the program's. Raises InputError for a prompt that is
        empty, too long, or leaves no room for the new tokens.
        """
        prompt, limit = self._checked(prompt_ids), self.program.max_length
        if not 1 <= prompt.size <= limit:
            raise InputError(f"the prompt has {prompt.size} tokens, the program takes 1 to {limit}")
        if max_new_tokens < 1:
            raise InputError(f"at least 1 new token can be asked for, not {max_new_tokens}")
        if prompt.size + max_new_tokens - 1 > limit:
            raise InputError(f"{max_new_tokens} new tokens after a prompt of {prompt.size} are too many: the program "
                             f"was compiled for {limit} positions, so at most {limit - prompt.size + 1}")
        self.reset()
        return self._tokens(prompt, max_new_tokens, set(self.program.stop if stop is None else stop))

    def _tokens(self, ids, count, stop):
        for _ in range(count):
            token = int(np.argmax(self._take(ids)[-1]))
            yield token
            if token in stop:
                return
            ids = np.array([token], np.int32)

    def _checked(self, ids):
        array = as_array(ids)
        if array.ndim == 2 and len(array) == 1:
            array = array[0]
        if array.ndim != 1 or array.size and array.dtype.kind not in "iu":
            raise InputError(f"token ids must be integers of shape [tokens] or [1, tokens], not "
                             f"{array.dtype}{list(array.shape)}")
        limit = self.program.vocabulary
        bad = array[(array < 0) | (array >= limit)]
        if bad.size:
            raise InputError(f"token id {int(bad[0])} is out of range: the model has {limit} entries (0 to "
                             f"{limit - 1})")
        return array.astype(np.int32)

    def _take(self, ids):
        steps = self.program.steps
        unit, chunk = steps["decode"].rows, steps["prefill"].rows
        known = np.concatenate([self._ids, ids])
        results, position = [], self.position
        while position < known.size:
            # Rows that share a word of the memory port with new ones are computed again, to equal bits.
            start = position // unit * unit
            name = "decode" if known.size - start <= unit else "prefill"
            stop = min(known.size, start + (unit if name == "decode" else chunk))
            results.append(self.run(name, known[start:stop], start, stop - position)[position - start:])
            position = stop
        self._ids = known
        return np.concatenate(results) if results else np.empty((0, steps["decode"].logits.features), np.float32)

    def run(self, name, ids, position, fresh, observe=None):
        """Logits of ``ids`` at ``position`` by program ``name``, "prefill" or "decode", which takes that many at once;
        earlier positions have been run, and the last ``fresh`` of these are new. ``observe``: see
        `weft.sim.golden.GoldenMachine.run`."""
        program, step = self.program, self.program.steps[name]
        rows = np.zeros((step.rows, 1), np.int32)
        rows[:ids.size, 0] = ids
        inputs = {step.ids.name: pack_input(program.config, step.ids, rows), **self._caches}
        registers = {POSITION: position}
        began, golden, rtl = time.perf_counter(), None, None
        if self.backend != "golden":
            rtl = (self._machine or program.prepare()).run(step.image, inputs, registers=registers, **self._options)
        if self.backend != "rtl":
            golden = program.golden(name).run(inputs, registers, observe, count=self.backend == "verify")
        if self.backend == "verify":
            from weft.sim.compare import compare

            compare(step.image, golden, rtl)
        self.stats = self._figures(step, fresh, position + ids.size - fresh, rtl, golden, time.perf_counter() - began)
        self.runs.append(self.stats)
        self.last = Run(name, fresh, position + ids.size - fresh, rtl and rtl.recording)
        result = rtl or golden
        self._caches = {b.name: result.buffers[b.name].copy() for b in step.image.buffers if b.kind == "state"}
        integers = unpack_output(program.config, step.logits, result.outputs[step.logits.name])[:ids.size]
        return ((integers.astype(np.int64) - program.zero) * program.scale).astype(np.float32)

    def _figures(self, step, count, position, rtl, golden, seconds):
        """`Stats` of a run whose ``count`` new tokens begin at ``position``; other rows of it do not count."""
        program = self.program
        pairs = count * position + count * (count + 1) // 2
        macs = count * program.macs_per_row + pairs * program.macs_per_key
        skipped = count * program.skipped_per_row + pairs * program.skipped_per_key
        traffic = program.weight_bytes + count * program.row_bytes + (position + count) * program.cache_row_bytes
        return Stats.of_run(program.config, macs, traffic, rtl and rtl.stats, seconds, skipped_macs=skipped, golden=golden)
