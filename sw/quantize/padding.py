"""Find out whether shorter inputs may be padded: which inputs, with what, and which results are cut back."""

import numpy as np

from weft.frontend import graph as fg

__all__ = ["find_padding", "token_axes"]


def _hides_last(program, graph, leaf, length, fill):
    """Whether filling ``leaf`` with ``fill`` at the last token, and otherwise not, hides exactly that key everywhere."""
    def masks(last):
        bound = []
        for i, item in enumerate(program.leaves):
            if "fixed" in item:
                bound.append(None)
                continue
            dtype = "float32" if item["dtype"] == "bfloat16" else item["dtype"]
            value = np.full(item["shape"], 1 - fill if i == leaf else 0, dtype)
            if i == leaf and last:
                value[:, -1] = fill
            bound.append(value)
        return program.values(bound)

    try:
        full, cut = masks(False), masks(True)
    except Exception:  # any refusal of these probe values means that this input is no such mask
        return False
    for op in graph.ops:
        if isinstance(op, fg.FAttention) and op.k_len == length:
            if op.mask is None:
                return False
            writer = graph.producer(op.mask)
            if not isinstance(writer, fg.FInput):
                return False
            before, after = (v[writer.value].reshape(op.batch, -1, length) for v in (full, cut))
            if after[..., -1].any() or not before[..., -1].any() or (before[..., :-1] != after[..., :-1]).any():
                return False
    return True


def find_padding(program, graph):
    """``{"length", "leaves": {leaf number: fill}}`` where a model takes a token mask, else None."""
    lengths = {op.k_len for op in graph.ops if isinstance(op, fg.FAttention)}
    if len(lengths) != 1:
        return None
    length = lengths.pop()
    tokens = [i for i, leaf in enumerate(program.leaves)
              if "fixed" not in leaf and len(leaf["shape"]) == 2 and leaf["shape"][1] == length]
    if length < 2 or len(tokens) != len([leaf for leaf in program.leaves if "fixed" not in leaf]):
        return None
    for leaf in tokens:
        for fill in (0, 1):
            if _hides_last(program, graph, leaf, length, fill):
                return {"length": length, "leaves": {str(i): fill if i == leaf else 0 for i in tokens}}
    return None


def token_axes(output, features, length):
    """Axes of a result that step through the rows of its tensor one token at a time."""
    shape = tuple(output.shape)
    count = int(np.prod(shape))
    index = np.arange(count) if output.index is None else output.index.numpy()
    rows = index.reshape(shape) // features
    return [axis for axis in range(1, len(shape))
            if shape[axis] == length and length > 1 and bool((np.diff(rows, axis=axis) == 1).all())]
