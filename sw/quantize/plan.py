"""Which integer forms each tensor of the float graph needs, what is fused, and the scale of every form.

Forms: "int16" (residual stream; one scale for all tensors joined by additions), "linear" (8 bits, input of linear
layers, chosen here), ("given", form) (int8 input of linear layers, prescribed by the model), and ("q" | "k" | "v",
attention) (int8 operands of one attention).
"""

from dataclasses import dataclass, replace
from math import lcm

import numpy as np
import torch

from weft.frontend import graph as fg
from weft.hw.errors import CompileError
from weft.quantize.attention import score_scales, value_scales
from weft.quantize.outliers import sort_neurons
from weft.quantize.search import migrated_scale, one_sided, table_for

__all__ = ["Form", "Plan", "layer_options"]


@dataclass(frozen=True)
class Form:
    """Integer form of a tensor: scale float64[1 or features], zero point, type."""

    scale: np.ndarray
    zero: int
    dtype: str


def _is_relu(op):
    grid = torch.linspace(-4, 4, 65)
    return bool(torch.equal(op.function(grid), torch.relu(grid)))


def _circulant(layers):
    """Neighbouring features that must have one scale, so that weights of circulant blocks stay such when they absorb it."""
    return lcm(*(layer.circulant or 1 for layer in layers))


def _shared(scale, block):
    """``scale`` with the largest of each ``block`` for all of it."""
    return scale.reshape(-1, block).max(1).repeat(block)


def layer_options(graph, options):
    """`LayerOptions` by module of every linear layer and attention of a float graph; see `QuantOptions.of_modules`."""
    return options.of_modules(op.origin.module for op in graph.ops if isinstance(op, (fg.FLinear, fg.FAttention)))


class Plan:
    """Decisions about a float graph before any integer is computed."""

    def __init__(self, graph, observed, options, wide_block=0):
        self.graph, self.observed, self.options = graph, observed, options
        self._choices = layer_options(graph, options)
        self.writers = {op.out: op for op in graph.ops}
        self.readers = {op.out: [] for op in graph.ops}
        for op in graph.ops:
            for name in set(op.reads):
                self.readers[name].append(op)
        self.position = {op.out: i for i, op in enumerate(graph.ops)}
        self.activation = {}   # FLinear output -> FUnary computed on its way out
        self.residual = {}     # FLinear output -> FAdd computed on its way out
        self._fuse()
        self.forms = {op.out: [] for op in graph.ops}
        self._demand()
        self._classes = self._join()
        self._targets, self._tables, self._attentions = {}, {}, {}
        self.order = {}        # tensor -> int64[features]: which feature of the model's each one is, where reordered
        self.wide = sort_neurons(graph, self, wide_block) if wide_block else {}

    # -- fusion -----------------------------------------------------------------------------------------------

    def _only_reader(self, name):
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and not self.graph.is_output(name) else None

    def _fuse(self):
        for op in self.graph.ops:
            if isinstance(op, fg.FUnary):
                producer = self.writers[op.x]
                if isinstance(producer, fg.FLinear) and self._only_reader(op.x) is op:
                    self.activation[op.x] = op
            elif isinstance(op, fg.FAdd) and op.a != op.b:
                # The later operand is fused: the other one is already there when it is computed.
                for name in sorted((op.a, op.b), key=self.position.get, reverse=True):
                    if isinstance(self.writers[name], fg.FLinear) and self._only_reader(name) is op:
                        self.residual[name] = op
                        break

    def fused_linear(self, op):
        """The linear layer whose results ``op`` (activation or addition) receives on their way out, or None."""
        for table in (self.activation, self.residual):
            for name, reader in table.items():
                if reader is op:
                    return self.writers[name]
        return None

    # -- forms ------------------------------------------------------------------------------------------------

    def _need(self, name, form):
        if form not in self.forms[name]:
            self.forms[name].append(form)

    def _demand(self):
        for output in self.graph.outputs:
            if output.tensor is not None:
                native8 = isinstance(self.writers[self.root(output.tensor)], (fg.FUnary, fg.FAttention))
                self._need(output.tensor, "linear" if native8 else "int16")
        for op in reversed(self.graph.ops):
            match op:
                case fg.FLinear():
                    self._need(op.x, self.source(op))
                case fg.FAttention():
                    self._need(op.q, ("q", op.out))
                    self._need(op.k, ("k", op.out))
                    self._need(op.v, ("v", op.out))
                case fg.FSelect():
                    for form in self.forms[op.out]:
                        self._need(op.x, form)
                case fg.FAdd():
                    for name in (op.a, op.b):
                        if name not in self.residual or self.residual[name] is not op:
                            self._need(name, "int16")
                case fg.FConcat():
                    for name in (op.out, *op.parts):
                        self._need(name, "int16")
                case fg.FMultiply():
                    for name in (op.a, op.b):
                        self._need(name, self.factor(name))
                case fg.FNorm() | fg.FAffine() | fg.FRotary():
                    self._need(op.x, "int16")
                case fg.FUnary() if op.x not in self.activation:
                    self._need(op.x, "int16")

    @staticmethod
    def source(layer):
        """Form in which a linear layer reads its input."""
        return "linear" if layer.given is None else ("given", layer.given)

    def eight(self, name):
        """The 8-bit form in which ``name`` is computed where it is computed with 8 bits: what a model prescribes if
        nothing else is asked for."""
        given = [form for form in self.forms[name] if form[0] == "given"]
        return given[0] if given and "linear" not in self.forms[name] else "linear"

    def factor(self, name):
        """Form in which a tensor enters a product of activations: 8 bits only where it comes with 8 bits."""
        return "linear" if isinstance(self.writers[self.root(name)], (fg.FUnary, fg.FAttention)) else "int16"

    def root(self, name):
        """The tensor whose rows ``name`` selects."""
        while isinstance(self.writers[name], fg.FSelect):
            name = self.writers[name].x
        return name

    def _followers(self, name):
        """``name`` and every selection of its rows."""
        names = [name]
        for follower in names:
            names += [op.out for op in self.readers[follower] if isinstance(op, fg.FSelect)]
        return names

    # -- int16 scales -----------------------------------------------------------------------------------------

    def _join(self):
        """Union-find over additions: tensor name -> representative."""
        parent = {name: name for name in self.writers}

        def find(name):
            while parent[name] != name:
                parent[name] = parent[parent[name]]
                name = parent[name]
            return name

        for op in self.graph.ops:
            if isinstance(op, fg.FAdd):
                parent[find(op.a)] = parent[find(op.b)] = find(op.out)
            elif isinstance(op, (fg.FSelect, fg.FConcat, fg.FRotary)):
                for name in op.reads:
                    parent[find(name)] = find(op.out)
        return {name: find(name) for name in parent}

    def _int16(self, name):
        key = (self._classes[name], "int16")
        if key not in self._targets:
            peak = fixed = 0.0
            for member, representative in self._classes.items():
                if representative != key[0] or member not in self.observed:
                    continue
                peak = max(peak, float(self.observed[member].peak.max()))
                match self.writers[member]:
                    case fg.FEmbed(table=data) | fg.FConst(values=data):
                        fixed = max(fixed, float(data.abs().max()))
            scale = max(peak * self.options.headroom, fixed, 1e-9) / 32767
            self._targets[key] = Form(np.array([scale]), 0, "int16")
        return self._targets[key]

    # -- 8-bit scales -----------------------------------------------------------------------------------------

    def tables(self, op):
        """``(Table, None)`` of a unary operation, or ``(Table, wide Table)`` where its first neurons have their own."""
        if op.out not in self._tables:
            seen, wide = self.observed[op.x], self.wide.get(op.out, 0)
            # A factor has no zero point: it would have to be multiplied with the other factor.
            multiplied = any(isinstance(r, fg.FMultiply) for f in self._followers(op.out) for r in self.readers[f])
            zeros = (None, 0 if multiplied else None)
            form = self.eight(op.out)
            fixed = None if form == "linear" else (form[1].scale, form[1].zero)
            options = self._shared_choices(self._layers(op.out))
            table, second = table_for(op.function, seen.part(slice(wide, None)), options, zeros, fixed), None
            if wide:
                second = table_for(op.function, seen.part(slice(0, wide)), options, (table.in_zero, table.out_zero))
            self._tables[op.out] = table, second
        return self._tables[op.out]

    def per_neuron(self, op, value, wide_value):
        """float64[1], or [features] where ``op``'s first neurons have a table of their own."""
        wide = self.wide.get(op.out, 0)
        if not wide:
            return np.array([value])
        return np.repeat([wide_value, value], [wide, self.graph.tensors[op.out].features - wide])

    def target(self, name, form):
        """The `Form` a tensor takes; the same for a tensor and selections of its rows."""
        if form == "int16":
            return self._int16(name)
        key = (self.root(name), form)
        if key not in self._targets:
            match form:
                case "linear":
                    self._targets[key] = self._linear_input(key[0])
                case "given", given:
                    self._targets[key] = Form(np.array([given.scale]), given.zero, "int8")
                case _:
                    self._targets[key] = self._operand(form)
        return self._targets[key]

    def choices(self, op):
        """`LayerOptions` of a linear layer or an attention."""
        return self._choices[op.origin.module]

    def _linear_input(self, name):
        op, seen = self.writers[name], self.observed[name]
        if isinstance(op, fg.FAttention):
            return Form(self.attention(op)[2], 0, "int8")
        if isinstance(op, fg.FUnary) and not self.is_relu(op):
            table, wide = self.tables(op)
            return Form(self.per_neuron(op, table.out_scale, wide and wide.out_scale), table.out_zero, "int8")
        layers = self._layers(name)
        options = self._shared_choices(layers)
        weights = [layer.weight.numpy() for layer in layers]
        block = _circulant(layers)
        block = block if len(seen.peak) % block == 0 else len(seen.peak)
        if isinstance(op, fg.FMultiply) and weights and block == 1 and options.migration:
            sign, zero = one_sided(seen, weights)
            scale = migrated_scale(seen.turned(sign), [w * sign for w in weights], options, -128 - zero, 127 - zero)
            return Form(scale * sign, zero, "int8")
        low, high, kind = (0, 255, "uint8") if isinstance(op, fg.FUnary) else (-127, 127, "int8")
        return Form(_shared(migrated_scale(seen.shared(block), weights, options, low, high), block), 0, kind)

    def _layers(self, name):
        """The linear layers that read ``name`` or rows of it in the form that is chosen here."""
        return [op for f in self._followers(name) for op in self.readers[f]
                if isinstance(op, fg.FLinear) and self.source(op) == "linear"]

    def _shared_choices(self, layers):
        """`LayerOptions` for the input that ``layers`` share; CompileError where they want different ones."""
        if not layers:
            return self.options
        first = self.choices(layers[0])
        for layer in layers[1:]:
            if self.choices(layer).of_input != first.of_input:
                raise CompileError(f"quantization: {layers[0].origin.module} and {layer.origin.module} read the same tensor, "
                                   "so the choices for their input must be the same")
        return self._absorbable(first, layers)

    @staticmethod
    def _absorbable(options, layers):
        """``options`` without migration where weights are fixed integers."""
        return replace(options, migration=0) if any(layer.steps is not None for layer in layers) else options

    def is_relu(self, op):
        """Whether a unary operation fused into a linear layer is a plain ReLU that clamping at the least integer computes."""
        form = self.eight(op.out)
        return op.x in self.activation and (form == "linear" or form[1].zero == -128) and _is_relu(op)

    def attention(self, op):
        """``(ScoreScales, scale of the values, scale of the result)`` of an `FAttention`."""
        if op.out not in self._attentions:
            q, k, v = (self.observed[self.root(name)] for name in (op.q, op.k, op.v))
            layers, options = self._layers(op.out), self.choices(op)
            if self.result(op) == "linear":
                weights = [layer.weight.numpy() for layer in layers]
                block = _circulant(layers)
                block = block if op.head_dim % block == 0 else None     # None: one for all features
                values = value_scales(v.shared(block or len(v.peak)), self.observed[op.out], weights, op,
                                      self._absorbable(options, layers))
                values = tuple(_shared(scale, block or len(scale)) for scale in values)
            else:
                step = self.result(op)[1].scale
                values = np.full(len(v.peak), max(float(v.peak.max()) / 127, step)), np.array([step])
            self._attentions[op.out] = (score_scales(q, k, v, op, options), *values)
        return self._attentions[op.out]

    def result(self, op):
        """The form in which attention ``op`` is computed: with zero point 0, and steps not far below those of its
        values."""
        form = self.eight(op.out)
        if form == "linear" or form[1].zero or 32 * form[1].scale < float(self.observed[self.root(op.v)].peak.max()) / 127:
            return "linear"
        return form

    def _operand(self, form):
        role, name = form
        scores, value, _ = self.attention(self.writers[name])
        return Form({"q": scores.q, "k": scores.k, "v": value}[role], 0, "int8")
