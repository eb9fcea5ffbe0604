"""The float graph: the few operations a transformer consists of, on two-dimensional tensors ``[rows, features]``.

`weft.frontend.translate` builds it from an exported model; `weft.quantize` turns it into integers. Rows are all
leading dimensions flattened. Weights are float32 torch tensors. Attention masks and token ids are host values
(`weft.frontend.host`): the graph only names them.
"""

from dataclasses import dataclass, field

import torch

from weft.qgraph import Origin
from weft.weights import BLOCKS, circulant_block

__all__ = ["FTensor", "Given", "FOp", "FInput", "FConst", "FEmbed", "FLinear", "FAdd", "FMultiply", "FAffine", "FUnary", "FNorm",
           "FRotary", "FAttention", "FSelect", "FConcat", "FOutput", "FloatGraph"]


@dataclass(frozen=True)
class FTensor:
    """Shape of one tensor of the float graph."""

    name: str
    rows: int
    features: int


@dataclass(frozen=True)
class Given:
    """An int8 form that a model prescribes: the value is ``(q - zero) * scale``."""

    scale: float
    zero: int

    def apply(self, x):
        """``x`` after quantization to this form and back."""
        return (torch.clamp(torch.floor(x / self.scale + 0.5) + self.zero, -128, 127) - self.zero) * self.scale


@dataclass(eq=False, kw_only=True)
class FOp:
    """Base of every operation; ``out`` names its result."""

    out: str
    origin: Origin = Origin()

    _reads = ()

    @property
    def reads(self):
        """Names of the tensors it needs."""
        return tuple(getattr(self, name) for name in self._reads if getattr(self, name) is not None)

    def rename(self, old, new):
        """Read tensor ``new`` wherever ``old`` was read."""
        for name in self._reads:
            if getattr(self, name) == old:
                setattr(self, name, new)


@dataclass(eq=False, kw_only=True)
class FInput(FOp):
    """Comes from the host: ``kind`` is "ids" (``limit`` rows in the smallest table), "float" or "mask"."""

    kind: str
    value: int
    limit: int = 0


@dataclass(eq=False, kw_only=True)
class FConst(FOp):
    """``out = values``; float32 ``[rows, features]``, or bool for a mask."""

    values: torch.Tensor


@dataclass(eq=False, kw_only=True)
class FEmbed(FOp):
    """``out[r] = table[ids[r]]``."""

    ids: str
    table: torch.Tensor
    _reads = ("ids",)


@dataclass(eq=False, kw_only=True)
class FLinear(FOp):
    """``out = x @ weight.T + bias``; weight ``[N, K]``, bias ``[N]``.

    ``given``: the form in which the model quantizes x before it. ``steps`` float64[N]: the weights of output n are
    integers in -127..127 times ``steps[n]``, which are to be kept.
    ``circulant``: size of the circulant blocks that the weight consists of (`weft.weights.CirculantWeights`), 0 where it
    does not; until `find_blocks` looks, the one that the exported operator has.
    """

    x: str
    weight: torch.Tensor
    bias: torch.Tensor
    given: Given | None = None
    steps: torch.Tensor | None = None
    circulant: int = 0
    _reads = ("x",)

    def find_blocks(self):
        """Sets ``circulant`` from the weight as it is now."""
        self.circulant = circulant_block(self.weight, {*BLOCKS, self.circulant or BLOCKS[0]})


@dataclass(eq=False, kw_only=True)
class FAdd(FOp):
    """``out = a + b``."""

    a: str
    b: str
    _reads = ("a", "b")


@dataclass(eq=False, kw_only=True)
class FMultiply(FOp):
    """``out = a * b`` element by element."""

    a: str
    b: str
    _reads = ("a", "b")


@dataclass(eq=False, kw_only=True)
class FAffine(FOp):
    """``out = x * scale + shift`` per feature."""

    x: str
    scale: torch.Tensor
    shift: torch.Tensor
    _reads = ("x",)


@dataclass(eq=False, kw_only=True)
class FUnary(FOp):
    """``out = function(x)`` element by element; ``label`` names the function."""

    x: str
    function: object
    label: str
    _reads = ("x",)


@dataclass(eq=False, kw_only=True)
class FNorm(FOp):
    """LayerNorm (``kind`` "layer") or RMSNorm ("rms") over the features, times gamma plus beta."""

    x: str
    kind: str
    gamma: torch.Tensor
    beta: torch.Tensor
    eps: float
    _reads = ("x",)


@dataclass(eq=False, kw_only=True)
class FRotary(FOp):
    """Rotary embedding of heads of ``head_dim`` features; tables ``cos``, ``sin`` float32 ``[rows, head_dim]``.

    Feature j of a head is paired with feature j + head_dim / 2 of the same head (and the other way round):
    ``out[r, h, j] = x[r, h, j] * cos[r, j] + x[r, h, pair(j)] * sin[r, j]``. Any other pairing is a permutation of
    the columns that produce x. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
    """

    x: str
    cos: torch.Tensor
    sin: torch.Tensor
    head_dim: int
    _reads = ("x",)


@dataclass(eq=False, kw_only=True)
class FAttention(FOp):
    """``softmax(scale * q k^T) v`` per batch element and head; layouts as in `weft.qgraph.Attention`."""

    q: str
    k: str
    v: str
    heads: int
    kv_heads: int
    head_dim: int
    batch: int
    q_len: int
    k_len: int
    scale: float
    mask: str | None = None
    causal: bool = False
    _reads = ("q", "k", "v", "mask")


@dataclass(eq=False, kw_only=True)
class FSelect(FOp):
    """``out[i] = x[index[i]]``; index int64[rows]."""

    x: str
    index: torch.Tensor
    _reads = ("x",)


@dataclass(eq=False, kw_only=True)
class FConcat(FOp):
    """``out[i] = stacked[index[i]]``, where ``stacked`` holds the rows of all ``parts`` one after the other.

    ``parts`` is a tuple of tensors of equal width; index int64[rows].
    """

    parts: tuple
    index: torch.Tensor

    @property
    def reads(self):
        return self.parts

    def rename(self, old, new):
        self.parts = tuple(new if part == old else part for part in self.parts)


@dataclass
class FOutput:
    """One of the model's results, ``shape`` as exported.

    Either ``tensor`` (a tensor of the graph; ``index`` says which flat element of it each element of the result is,
    None for row-major) or ``value`` (a host value) or ``constant`` (known at compile time).
    """

    shape: tuple
    tensor: str | None = None
    index: torch.Tensor | None = None
    value: int | None = None
    constant: torch.Tensor | None = None


@dataclass(eq=False)
class FloatGraph:
    """Operations in execution order, tensors by name, outputs, and the host's part (`HostGraph`).

    ``removed``: MACs of linear layers, and of attention, that the model has and the graph no more.
    """

    ops: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)
    outputs: list = field(default_factory=list)
    host: object = None
    removed: tuple = (0, 0)

    def producer(self, name):
        """The operation that writes ``name``."""
        return self._writers()[name]

    def consumers(self, name):
        """The operations that read ``name``."""
        return [op for op in self.ops if name in op.reads]

    def is_output(self, name):
        """Whether ``name`` is one of the model's results."""
        return any(output.tensor == name for output in self.outputs)

    def prune(self):
        """Drop operations whose result nothing needs."""
        needed = {output.tensor for output in self.outputs}
        kept = []
        for op in reversed(self.ops):
            if op.out in needed:
                kept.append(op)
                needed.update(op.reads)
        self.ops = kept[::-1]
        self.tensors = {op.out: self.tensors[op.out] for op in self.ops}

    def run(self, inputs, observe=None):
        """Evaluate in float32: ``inputs`` maps `FInput` names to tensors; returns the tensors that are outputs.

        ``observe(op, tensor)`` sees every result as it is computed.
        """
        from weft.frontend.evaluate import evaluate

        return evaluate(self, inputs, observe)

    def _writers(self):
        return {op.out: op for op in self.ops}
