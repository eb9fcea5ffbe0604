"""Calibration: run the float graph on real batches, keep ranges and a sample of rows of every tensor."""

from dataclasses import dataclass

import numpy as np
import torch

from weft.frontend import graph as fg
from weft.hw.errors import CompileError

__all__ = ["Observed", "calibrate", "float_inputs", "valid_rows"]


@dataclass
class Observed:
    """What calibration saw of one tensor: per-feature extremes over all valid rows, and sample rows.

    ``low``, ``high`` float64[features]; ``rows`` float32[samples, features]; ``count``: how many rows there were.
    """

    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray
    count: int

    @property
    def peak(self):
        """Largest magnitude of each feature, float64[features]."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def part(self, features):
        """The same for some of the features."""
        return Observed(self.low[features], self.high[features], self.rows[:, features], self.count)

    def turned(self, sign):
        """The same with the features' values times ``sign`` float64[features], each 1 or -1."""
        low, high = np.minimum(self.low * sign, self.high * sign), np.maximum(self.low * sign, self.high * sign)
        return Observed(low, high, self.rows * sign.astype(np.float32), self.count)

    def shared(self, block):
        """The same with the extremes of ``block`` neighbouring features for each of them."""
        low, high = self.low.reshape(-1, block).min(1), self.high.reshape(-1, block).max(1)
        return Observed(low.repeat(block), high.repeat(block), self.rows, self.count)


def float_inputs(graph, program, args, kwargs):
    """Float graph inputs (name -> torch tensor) for a user's arguments, through the host program's steps."""
    bound, _ = program.padded(program.bind(args, kwargs))
    values = program.values(bound)
    feeds = {}
    for op in graph.ops:
        if isinstance(op, fg.FInput):
            tensor = graph.tensors[op.out]
            array = np.array(values[op.value].reshape(tensor.rows, tensor.features))
            if op.kind == "ids" and ((array < 0) | (array >= op.limit)).any():
                raise CompileError(f"a calibration batch holds token id {int(array.max())}; the model has {op.limit} entries")
            feeds[op.out] = torch.from_numpy(array if op.kind != "float" else array.astype(np.float32))
    return feeds


def valid_rows(graph, feeds):
    """Row count -> bool[rows]: tokens that some query may attend to (padding must not widen the ranges)."""
    valid = {}
    for op in graph.ops:
        if isinstance(op, fg.FAttention) and op.mask in feeds:
            seen = feeds[op.mask].reshape(op.batch, -1, op.k_len).any(1).reshape(-1)
            if seen.any():
                valid.setdefault(op.batch * op.k_len, seen)
    return valid


def _observe_batch(graph, program, args, kwargs, tokens, share, generator, seen):
    """Run one batch and merge its extremes and ``share`` sample rows of each tensor into ``seen``."""
    low, high, rows, counts = seen
    feeds = float_inputs(graph, program, args, kwargs)
    valid, picks = valid_rows(graph, feeds), {}
    if tokens is not None:
        valid = {n: torch.arange(n) < tokens for n in {t.rows for t in graph.tensors.values()} if n >= tokens}

    def observe(op, value):
        if value.dtype == torch.bool or isinstance(op, fg.FInput) and op.kind == "ids":
            return
        # NumPy: torch would start its threads for each of these small steps.
        value = value.numpy()
        count = len(value)
        if count not in picks:
            candidates = np.flatnonzero(valid[count].numpy()) if count in valid else np.arange(count)
            picks[count] = candidates, generator.permutation(candidates)[:share]
        kept, sample = picks[count]
        rows.setdefault(op.out, []).append(value[sample])
        value = value[kept] if len(kept) < count else value
        counts[op.out] = counts.get(op.out, 0) + len(value)
        least, most = value.min(0).astype(np.float64), value.max(0).astype(np.float64)
        if not (np.isfinite(least).all() and np.isfinite(most).all()):
            raise CompileError(f"the model computes NaN or infinite values on a calibration batch, at {op.origin}")
        low[op.out] = np.minimum(low[op.out], least) if op.out in low else least
        high[op.out] = np.maximum(high[op.out], most) if op.out in high else most

    graph.run(feeds, observe)


def calibrate(graph, program, batches, samples=1024, tokens=None):
    """`Observed` of every tensor by name; ``batches`` is an iterable of ``(args, kwargs)``.

    ``tokens``: for each batch how many rows count, where what follows is padding that no mask hides (a causal model's).
    Raises `CompileError` without any batch or where the model's values are not finite.
    """
    batches = list(batches or [])
    if not batches:
        raise CompileError("calibration needs at least one batch of (args, kwargs)")
    generator = np.random.default_rng(0)
    share = -(-samples // len(batches))
    low, high, rows, counts = {}, {}, {}, {}
    for (args, kwargs), count in zip(batches, tokens or [None] * len(batches), strict=True):
        _observe_batch(graph, program, args, kwargs or {}, count, share, generator, (low, high, rows, counts))
    # Rows are taken out as they are joined: logits of a large vocabulary would otherwise be there twice.
    return {name: Observed(low[name], high[name], np.concatenate(rows.pop(name))[:samples], counts[name]) for name in low}
