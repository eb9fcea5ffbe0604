"""Compressed forms of weight matrices, and what a matrix's zeros and repetitions allow; NumPy only.

A form holds the integers that memory holds; ``expand()`` is the int8 matrix ``[N, K]`` that they stand for, outputs by
inputs, and ``bytes`` is what they take in memory, packed.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["BLOCKS", "CirculantWeights", "GROUPS", "GroupedWeights", "KEPT", "Pattern", "SPARSITIES", "SparseWeights",
           "circulant_block", "circulant_misfit", "four_bit_group", "kept_of", "pattern_of", "sparsity_misfit"]

#: Block sizes that are looked for, the largest first.
BLOCKS = (128, 64, 32, 16, 8, 4)

#: Sparsity patterns: weights kept, of how many neighbours along the inputs.
SPARSITIES = {"2:4": (2, 4), "1:4": (1, 4)}

#: Of these the weights kept, the tightest pattern first.
KEPT = {name: kept for name, (kept, _) in sorted(SPARSITIES.items(), key=lambda item: item[1])}

#: Inputs that one scale of 4-bit weights may be for.
GROUPS = range(16, 129)

#: Outputs whose weights are looked at together: of a dense matrix hardly more are looked at.
_ROWS = 64


def four_bit_group(name):
    """Inputs with one scale, of the weight formats "w4g16" to "w4g128"; 0 for other names."""
    digits = name.removeprefix("w4g")
    return int(digits) if digits != name and digits.isdecimal() and int(digits) in GROUPS else 0


@dataclass(frozen=True, eq=False)
class GroupedWeights:
    """4-bit weights: ``expand()[n, k] = values[n, k] * scales[n, k // group]``.

    ``values`` int8[N, K] in -8..7; ``scales`` uint8[N, ceil(K / group)] in 1..15.
    """

    values: np.ndarray
    scales: np.ndarray
    group: int

    def expand(self):
        """int8[N, K], magnitudes up to 120."""
        scales = self.scales.astype(np.int16).repeat(self.group, 1)[:, :self.values.shape[1]]
        return (self.values * scales).astype(np.int8)

    @property
    def bytes(self):
        """Half a byte a value and half a byte a group."""
        return -(-(self.values.size + self.scales.size) // 2)


@dataclass(frozen=True, eq=False)
class CirculantWeights:
    """Square blocks of which one column says all: ``expand()[n*b + i, k*b + j] = generators[n, k, (i - j) % b]``.

    ``generators`` int8[N / b, K / b, b] are the blocks' first columns; each row is the row above rotated right by one.
    """

    generators: np.ndarray

    @property
    def block(self):
        """b"""
        return self.generators.shape[-1]

    def expand(self):
        """The matrix, of the generators' type."""
        rows, columns, b = self.generators.shape
        turn = (np.arange(b)[:, None] - np.arange(b)) % b
        return self.generators[:, :, turn].transpose(0, 2, 1, 3).reshape(rows * b, columns * b)

    @classmethod
    def of(cls, weight, block):
        """The form of a matrix that consists of circulant blocks."""
        n, k = weight.shape
        return cls(np.ascontiguousarray(weight.reshape(n // block, block, k // block, block)[:, :, :, 0].transpose(0, 2, 1)))

    @property
    def bytes(self):
        """One byte a generator."""
        return self.generators.size


@dataclass(frozen=True, eq=False)
class SparseWeights:
    """``kept`` of each 4 neighbours along the inputs: value and place within the four.

    ``values`` int8 and ``places`` uint8, both ``[N, ceil(K / 4), kept]``, places ascending; unused slots hold value 0.
    """

    values: np.ndarray
    places: np.ndarray
    inputs: int

    def expand(self):
        """The matrix, of the values' type."""
        n, groups, _ = self.values.shape
        dense = np.zeros((n, groups, 4), self.values.dtype)
        np.put_along_axis(dense, self.places.astype(np.int64), self.values, 2)
        return dense.reshape(n, -1)[:, :self.inputs]

    @classmethod
    def of(cls, weight, kept):
        """The form of a matrix whose zeros allow it."""
        groups = _fours(weight)
        # Nonzero places first, in order; the stable sort fills the rest with places of zeros.
        places = np.sort(np.argsort(groups == 0, axis=2, kind="stable")[:, :, :kept], axis=2)
        return cls(np.take_along_axis(groups, places, 2), places.astype(np.uint8), weight.shape[1])

    @property
    def bytes(self):
        """A byte a value and two bits a place."""
        return self.values.size + -(-self.places.size // 4)


@dataclass(frozen=True)
class Pattern:
    """What the zeros of a matrix allow: ``name`` is "1:4", "2:4" or "dense" (the tightest that holds).

    ``outputs``, ``inputs``: numbers of the all-zero rows (neurons without weights) and columns (features nobody reads),
    int64 ascending.
    """

    name: str
    outputs: np.ndarray
    inputs: np.ndarray

    @property
    def kept(self):
        """How many of 4 neighbours along the inputs may be other than zero."""
        return KEPT.get(self.name, 4)

    def heads(self, head_dim, side="outputs"):
        """Numbers of the heads of ``head_dim`` neighbours that are zero throughout, among ``side``."""
        zero, counts = np.unique(getattr(self, side) // head_dim, return_counts=True)
        return zero[counts == head_dim]


def _fours(weight):
    n, k = weight.shape
    return np.pad(weight, ((0, 0), (0, -k % 4))).reshape(n, -1, 4)


def _matrix(weight):
    """A NumPy array of a matrix given as one or as a torch tensor."""
    return np.asarray(weight.detach().cpu().float() if hasattr(weight, "detach") else weight)


def pattern_of(weight):
    """The `Pattern` of a matrix ``[outputs, inputs]`` (NumPy or torch), from its zeros alone."""
    nonzero = _matrix(weight) != 0
    most = kept_of(nonzero)
    name = next((name for name, kept in KEPT.items() if most <= kept), "dense")
    return Pattern(name, np.flatnonzero(~nonzero.any(1)), np.flatnonzero(~nonzero.any(0)))


def kept_of(weight):
    """How many of four neighbours along the inputs of a matrix ``[outputs, inputs]`` are not zero, at most; 4 if that is more than
    any of `SPARSITIES` keeps."""
    most = 0
    for row in range(0, len(weight), _ROWS):
        most = max(most, int((_fours(weight[row:row + _ROWS]) != 0).sum(2).max(initial=0)))
        if most > max(KEPT.values()):
            return 4
    return most


def sparsity_misfit(weight, name, what="inputs"):
    """Where a matrix ``[outputs, inputs]`` (NumPy or torch) does not have the sparsity ``name``, in words with both numbers; or
    None. ``what``: what the columns are."""
    weight = _matrix(weight)
    counts = (_fours(weight) != 0).sum(2)
    wrong = np.argwhere(counts > KEPT[name])
    if not len(wrong):
        return None
    output, four = (int(place) for place in wrong[0])
    return (f"output {output}, {what} {4 * four} to {min(4 * four + 3, weight.shape[1] - 1)} hold {counts[output, four]} non-zero "
            f"weights, {name} allows {KEPT[name]}")


def circulant_block(weight, blocks=BLOCKS):
    """The largest of ``blocks`` for which a matrix consists of circulant blocks, exactly; 0 if there is none.

    A matrix of zeros has no block: nothing of it needs to be stored.
    """
    weight = _matrix(weight)
    n, k = weight.shape
    if not weight.any():
        return 0
    for b in sorted(blocks, reverse=True):
        if n % b or k % b:
            continue
        tiles = weight.reshape(n // b, b, k // b, b)
        # Each row is the row above rotated right by one; the first differing row ends the comparison.
        if all(np.array_equal(np.roll(tiles[:, i - 1], 1, -1), tiles[:, i]) for i in range(1, b)):
            return b
    return 0


def circulant_misfit(weight, block):
    """Why a matrix ``[outputs, inputs]`` (NumPy or torch) does not consist of circulant blocks of that size, in words with both
    values; or None."""
    weight = _matrix(weight)
    n, k = weight.shape
    if n % block or k % block:
        return f"its {k} inputs and {n} outputs cannot be cut into blocks of {block}"
    if circulant_block(weight, (block,)):
        return None
    if not weight.any():
        return "its weights are all zero"
    found = circulant_block(weight)
    if found:
        return f"its weights are circulant blocks of {found}"
    tiles = weight.reshape(n // block, block, k // block, block)
    row, output, column, inner = (int(place[0]) for place in np.nonzero(np.roll(tiles, (1, 1), (1, 3)) != tiles))
    return (f"its weights are not circulant: output {row * block + output} has {tiles[row, output, column, inner]:.9g} for input "
            f"{column * block + inner}, where {tiles[row, output - 1, column, inner - 1]:.9g} of output "
            f"{row * block + (output - 1) % block} for input {column * block + (inner - 1) % block} should be repeated")
