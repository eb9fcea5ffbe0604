"""The quantized graph: what the accelerator computes, in integers, independent of array size and memory layout.

Every tensor is two-dimensional, ``[rows, features]``; rows are all leading dimensions of the model's tensor
flattened (batch x tokens, batch-major). A tensor's real value is ``(q - zero) * scale``. The operations below state
their integer semantics; the arithmetic itself (requantize, norm, softmax) is defined in ``sim/README.md`` and
implemented in ``weft.sim.numerics``; ``weft.quantize.execute`` runs a graph in NumPy.

Operations are listed in execution order. Float metadata (scales, origins, MACs) serves reports, errors and the
host, never the accelerator.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["DTYPES", "Origin", "QTensor", "Rescale", "QOp", "Input", "Constant", "Embed", "Add", "Linear", "Norm",
           "Rotary", "Attention", "CachedAttention", "Positions", "Requant", "Multiply", "SelectRows", "Concat", "Output",
           "QGraph"]

DTYPES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int32": (-2**31, 2**31 - 1),
          "bool": (0, 1)}
"""Value range of every tensor type. ``int32`` only holds token ids, ``bool`` only attention masks."""


@dataclass(frozen=True)
class Origin:
    """Where in the user's model something comes from: exported node, module path, and its MACs there."""

    node: str = ""
    module: str = ""
    macs: int = 0

    def __str__(self):
        return f"{self.module or '<top>'} ({self.node})"


@dataclass(frozen=True, eq=False)
class QTensor:
    """An integer tensor ``[rows, features]``; its value is ``(q - zero) * scale``.

    ``scale`` is float64, of shape ``[1]`` (whole tensor) or ``[features]``; only tensors that are read by linear
    layers (whose weights absorb it) or are outputs have one scale per feature. ``source``: the tensor of the float graph
    that it approximates; ``order``: which feature of it each feature is, int64[features], None where they are the same.
    """

    name: str
    rows: int
    features: int
    dtype: str
    scale: np.ndarray
    zero: int = 0
    origin: Origin = Origin()
    source: str = ""
    order: np.ndarray | None = None

    @property
    def shape(self):
        return (self.rows, self.features)


@dataclass(frozen=True, eq=False)
class Rescale:
    """Integer rescaling of each output channel ``n`` to ``dtype``.

    After an accumulation (`Linear`, `Requant`):
    ``clamp((((x + bias) * mult + (1 << (shift - 1))) >> shift) + zero)``.
    After a norm (`Norm`), where the bias carries beta:
    ``clamp(((xhat * mult + bias + (1 << (shift - 1))) >> shift) + zero)``.

    ``bias`` int32[N]; ``mult`` int32[N] in [-131072, 131071]; ``shift`` int32[N] in 1..47 (in a norm at most 16 for
    int16 and 23 for 8-bit results); ``zero`` lies in the range of ``dtype``.
    """

    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray
    dtype: str
    zero: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class QOp:
    """Base of every operation: its output tensor is called ``out``; ``reads`` lists the tensors it needs."""

    out: str
    origin: Origin = Origin()

    @property
    def layer(self):
        """What its instructions are named by: the module it came from, else the exported node, else its tensor."""
        return self.origin.module or self.origin.node or self.out

    @property
    def reads(self):
        return ()

    @property
    def writes(self):
        return (self.out,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(QOp):
    """A tensor the host provides at each run: int32 token ids ``[rows, 1]``, a quantized float input (int8, int16),
    or an attention mask (bool ``[batch * (1 or q_len), k_len]``, true where a key may be attended)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(QOp):
    """A tensor known at compile time: ``values[rows, features]`` of the tensor's dtype (ids, mask or activations)."""

    values: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Embed(QOp):
    """``out[r] = table[ids[r, 0]]``; ``table`` int16[V, features], out int16."""

    ids: str
    table: np.ndarray

    @property
    def reads(self):
        return (self.ids,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(QOp):
    """``out = clamp16(a + b)``; a, b, out int16 of one common scale."""

    a: str
    b: str

    @property
    def reads(self):
        return (self.a, self.b)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(QOp):
    """``acc[r, n] = sum_k x[r, k] * weight[n, k]``, then rescale, then (table) or (residual).

    x int8 or uint8 ``[R, K]``; weight int8 ``[N, K]`` in [-127, 127]. x's zero point is already folded into the bias.
    ``table``: 256 entries of the output dtype (int8 or uint8); the rescaled int8 ``q`` becomes ``table[q & 255]``,
    so ``rescale.dtype`` is int8 there. ``residual``: an int16 tensor added to the unclamped rescaled value, then
    clamped to int16. At most one of the two. Where ``wide`` is not 0, the first ``wide`` channels (those with rare large
    values) use ``wide_table`` instead of ``table``.

    ``compressed``: another form of the same weights (`weft.weights.GroupedWeights` or `CirculantWeights`), whose
    ``expand()`` equals ``weight``; None where there is none. ``chosen``: the weight format that the user asked for; ``named``: of
    this very layer, by its path; ``misfit``: why its weights cannot have that format, "" where they can. What zeros allow is
    asked of ``weight`` itself.
    """

    x: str
    weight: np.ndarray
    rescale: Rescale
    table: np.ndarray | None = None
    residual: str | None = None
    wide: int = 0
    wide_table: np.ndarray | None = None
    compressed: object = None
    chosen: str = ""
    named: bool = False
    misfit: str = ""

    @property
    def reads(self):
        return (self.x,) if self.residual is None else (self.x, self.residual)


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm(QOp):
    """LayerNorm (``kind`` "layer") or RMSNorm ("rms") of int16 x, with one or two outputs of the same ``xhat``.

    ``xhat`` is 20-bit signed with 12 fraction bits; ``eps`` is the integer added to ``D*S2 - S1*S1`` (layer) or
    ``D*S2`` (rms). ``out`` gets ``rescale``; where ``out2`` is set it gets ``rescale2``.
    """

    x: str
    kind: str
    eps: int
    rescale: Rescale
    out2: str | None = None
    rescale2: Rescale | None = None

    @property
    def reads(self):
        return (self.x,)

    @property
    def writes(self):
        return (self.out,) if self.out2 is None else (self.out, self.out2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rotary(QOp):
    """Rotary embedding of heads of ``head_dim`` features; x and out int16 of one common scale.

    ``cos``, ``sin``: int16 tensors ``[rows, head_dim]`` with ``fraction`` fraction bits. Feature j of a head is paired
    with feature ``j + head_dim / 2`` of the same head, modulo head_dim. With ``r(p) = clamp16((p + (1 << (fraction - 1)))
    >> fraction)``: ``out[j] = clamp16(r(x[j] * cos[j]) + r(x[pair(j)] * sin[j]))``.
    """

    x: str
    cos: str
    sin: str
    head_dim: int
    fraction: int

    @property
    def reads(self):
        return (self.x, self.cos, self.sin)


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention(QOp):
    """``softmax(q k^T) v`` per batch element and head, one pass over key blocks of ``block`` keys.

    q int8 ``[batch * q_len, heads * head_dim]``; k, v int8 ``[batch * k_len, kv_heads * head_dim]``; head h reads
    key head ``h // (heads // kv_heads)``. Scores are ``(q.k * score_mult + (1 << (score_shift-1))) >> score_shift``
    clamped to int16: log2 units, 5 fraction bits. ``out_mult * 2**-out_shift`` is ``128 * scale_v / scale_out`` with
    out_mult in [2**15, 2**16). out int8, zero point 0. ``mask``: a bool tensor ``[batch * (1 or q_len), k_len]`` or None;
    ``causal``: query i attends keys up to ``i + k_len - q_len``.
    """

    q: str
    k: str
    v: str
    heads: int
    kv_heads: int
    head_dim: int
    batch: int
    q_len: int
    k_len: int
    score_mult: int
    score_shift: int
    out_mult: int
    out_shift: int
    block: int
    mask: str | None = None
    causal: bool = False

    @property
    def reads(self):
        return (self.q, self.k, self.v) + (() if self.mask is None else (self.mask,))


@dataclass(frozen=True, eq=False, kw_only=True)
class Positions(QOp):
    """``out[r] = values[position + r]``, any dtype; ``position`` is an argument of the run, that of the first row.

    ``values[positions, features]`` has a row for every position that the rows of a run may have.
    """

    values: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class CachedAttention(Attention):
    """Causal attention of new rows to all rows so far, whose keys and values are kept between runs.

    The new rows of k and v become rows ``position ..`` of two caches of ``capacity`` rows, named after their tensors,
    which start as zeros; query row r then attends to rows ``0 .. position + r`` of them. ``least <= position`` and
    ``position + q_len <= k_len`` hold for every run whose results count: ``k_len`` keys are enough. batch is 1.
    """

    capacity: int
    least: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Requant(QOp):
    """Rescale of int8, uint8 or int16 x, per channel, then optionally ``table[q & 255]`` as in `Linear`."""

    x: str
    rescale: Rescale
    table: np.ndarray | None = None

    @property
    def reads(self):
        return (self.x,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply(QOp):
    """Rescale of the products ``a * b``, per channel; a, b int8, uint8 or int16 with zero point 0, biases 0."""

    a: str
    b: str
    rescale: Rescale

    @property
    def reads(self):
        return (self.a, self.b)


@dataclass(frozen=True, eq=False, kw_only=True)
class SelectRows(QOp):
    """``out[i] = x[index[i]]``, any dtype; ``index`` int64[rows of out]."""

    x: str
    index: np.ndarray

    @property
    def reads(self):
        return (self.x,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(QOp):
    """``out[i] = stacked[index[i]]``, where ``stacked`` holds the rows of all ``parts`` one after the other.

    All tensors have the same features, type and scale; ``index`` int64[rows of out].
    """

    parts: tuple
    index: np.ndarray

    @property
    def reads(self):
        return self.parts


@dataclass(frozen=True)
class Output:
    """A result: the tensor to read back, dequantized with its scale and zero point and shaped to ``shape``.

    ``token_axes`` are the axes of ``shape`` that run over tokens and are cut back when the input was padded.
    """

    tensor: str
    shape: tuple
    token_axes: tuple = ()


@dataclass(eq=False)
class QGraph:
    """Operations in execution order, their tensors by name, the outputs in the model's order, and the host program.

    ``removed``: MACs of linear layers, and of attention, that the model has and the graph no more (`weft.frontend.unused`).
    ``host`` (`weft.quantize.host.HostProgram`) turns a user's ``(args, kwargs)`` into the `Input` tensors and
    integer outputs into float32 arrays. ``key_block`` is the attention block width every `Attention` uses.
    """

    ops: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)
    outputs: list = field(default_factory=list)
    host: object = None
    key_block: int = 0
    removed: tuple = (0, 0)

    @property
    def inputs(self):
        """Names of the tensors the host provides at each run."""
        return [op.out for op in self.ops if isinstance(op, Input)]

    @property
    def macs(self):
        """Multiply-accumulates of linear layers and attention at the exported shapes."""
        return sum(op.origin.macs for op in self.ops)

    @property
    def layer_macs(self):
        """The same by layer (`QOp.layer`), of layers that have any."""
        found = {}
        for op in self.ops:
            if op.origin.macs:
                found[op.layer] = found.get(op.layer, 0) + int(op.origin.macs)
        return found

    def producer(self, name):
        """The operation that writes tensor ``name``."""
        return next(op for op in self.ops if name in op.writes)

    def consumers(self, name):
        """The operations that read tensor ``name``, in execution order."""
        return [op for op in self.ops if name in op.reads]

    def run(self, inputs, position=0, caches=None):
        """Execute in NumPy: ``inputs`` maps `Input` names to integer arrays; returns the outputs' integer arrays.

        ``position``, ``caches`` (a dict that is updated): for `Positions` and `CachedAttention`."""
        from weft.quantize.execute import execute

        return execute(self, inputs, position=position, caches=caches)
