"""Values of the exported graph while it is being translated, and the index maps that stand for view operations.

A view (reshape, transpose, slice, expand, index by constants, ...) is never an operation of its own: a value is a
flat base tensor plus a map that says which base element each element of the value is. Consumers ask whether the map
is one they can express (rows of features, heads, ...). So any chain of views that amounts to splitting heads is
recognised as that, however it was written.
"""

from dataclasses import dataclass, field
from math import prod

import torch

from weft.qgraph import Origin

__all__ = ["Const", "Value", "Host", "Act", "Expr", "Mix", "Scores", "Probs", "Reordered", "Stat", "split_index",
           "is_identity"]


@dataclass(eq=False)
class Const:
    """A tensor known at compile time; ``name`` is its name in the model, for errors.

    ``steps``: see `weft.frontend.graph.FLinear`, of a weight that the model holds as integers.
    """

    tensor: torch.Tensor
    name: str = ""
    steps: torch.Tensor | None = None

    @property
    def shape(self):
        return tuple(self.tensor.shape)


@dataclass(eq=False)
class Value:
    """Elements ``base.flatten()[index]``; ``index`` int64 of shape ``shape``, None for row-major order."""

    base: object
    shape: tuple
    index: torch.Tensor | None = None

    @property
    def map(self):
        """The index map, also where it is the identity."""
        return torch.arange(prod(self.shape)).reshape(self.shape) if self.index is None else self.index


@dataclass(eq=False)
class Host(Value):
    """A value the host computes; ``base`` is its step number in the `HostGraph`."""

    dtype: torch.dtype = torch.int64


@dataclass(eq=False)
class Expr:
    """An elementwise function not yet applied.

    ``affine`` is ``(a, b)`` where the function is ``a * x + b``; ``square`` marks ``x * x``; ``origin`` is the
    exported node that completes it.
    """

    function: object
    label: str
    affine: tuple | None = None
    square: bool = False
    origin: Origin | None = None


@dataclass(eq=False)
class Act(Value):
    """Activations: ``expr`` (None: itself) of elements of float graph tensor ``base``.

    ``centered`` marks a value from which its own mean over the last axis was subtracted. ``given``: the 8-bit form
    (`weft.frontend.graph.Given`) that the model prescribes for it as a linear layer's input.
    """

    expr: Expr | None = None
    centered: bool = False
    cache: dict = field(default_factory=dict)
    given: object = None


@dataclass(eq=False)
class Mix:
    """Sums of elements of one float graph tensor times constants, as a rotary embedding computes them.

    ``terms``: pairs of an int64 index map into ``base`` (-1 where an element has no such term) and float32
    coefficients, both of shape ``shape``.
    """

    base: str
    shape: tuple
    terms: list
    cache: dict = field(default_factory=dict)


@dataclass(eq=False)
class Scores:
    """``scale * q k^T`` with masks not yet applied: q ``[..., q_len, d]``, k ``[..., k_len, d]``."""

    q: Act
    k: Act
    shape: tuple
    scale: float = 1.0
    masks: list = field(default_factory=list)


@dataclass(eq=False)
class Probs:
    """Softmax of scores over the keys."""

    scores: Scores
    shape: tuple


@dataclass(eq=False)
class Reordered:
    """Elements ``scores.flatten()[index]`` of `Scores` or `Probs`: on the way from one layout to another."""

    scores: Scores | Probs
    index: torch.Tensor

    @property
    def shape(self):
        return tuple(self.index.shape)


@dataclass(eq=False)
class Stat:
    """A statistic over the last axis of ``x``: ``(mean or variance or mean square + eps) ** power``."""

    kind: str
    x: Act
    eps: float = 0.0
    power: float = 1.0


def is_identity(index, count):
    """Whether the map lists all of ``count`` base elements in row-major order."""
    return index.numel() == count and bool((index.reshape(-1) == torch.arange(count)).all())


def split_index(index, features):
    """Rows and columns of a two-dimensional map into a base ``[rows, features]``, or None if it mixes them.

    Returns int64 ``(rows[R], columns[C])`` with ``index[r, c] == rows[r] * features + columns[c]``.
    """
    rows, columns = index // features, index % features
    if bool((rows == rows[:, :1]).all()) and bool((columns == columns[:1]).all()):
        return rows[:, 0].clone(), columns[0].clone()
    return None
