"""Vectors as the wide ports of the hardware carry them: element 0 in the lowest bits."""

import numpy as np

__all__ = ["pack", "unpack"]


def pack(values, bits):
    """The integer that holds `values`, signed or not, in fields of `bits` bits."""
    mask, word = (1 << bits) - 1, 0
    for value in reversed([int(v) for v in values]):
        word = word << bits | value & mask
    return word


def unpack(word, bits, count, signed=True):
    """int64[count] from the fields of an integer."""
    mask = (1 << bits) - 1
    values = [word >> bits * n & mask for n in range(count)]
    if signed:
        values = [v - (1 << bits) if v >> bits - 1 else v for v in values]
    return np.array(values, dtype=np.int64)
