"""Turn a planned float graph into the quantized graph: every operation's integers."""

import numpy as np
import torch

from weft import qgraph as qg
from weft.hw.errors import CompileError
from weft.quantize import integers
from weft.quantize.formats import layer_weights, misfit

__all__ = ["build"]


def _suffix(form):
    return "" if form == "int16" else ".int8" if form == "linear" else f".{form[0]}"


class _Build:
    def __init__(self, graph, plan, key_block, added):
        self.graph, self.plan, self.added = graph, plan, added
        self.out = qg.QGraph(key_block=key_block, removed=graph.removed)
        self.names = {}     # (float tensor, form) -> quantized tensor
        self.bindings = []
        self.current = None
        self.angles = {}    # bytes of a rotary table -> quantized tensor

    # -- bookkeeping ------------------------------------------------------------------------------------------

    def tensor(self, name, rows, features, form, origin, source=""):
        base, count = name, 1
        while name in self.out.tensors:
            count += 1
            name = f"{base}.{count}"
        self.out.tensors[name] = qg.QTensor(name, rows, features, form.dtype, np.asarray(form.scale, np.float64),
                                            form.zero, origin, source, self.plan.order.get(source))
        return name

    def new(self, name, form):
        """Declare the quantized tensor that holds ``form`` of float tensor ``name``."""
        shape = self.graph.tensors[name]
        q = self.tensor(name + _suffix(form), shape.rows, shape.features, self.plan.target(name, form),
                        self.current.origin, "" if name in self.added else name)
        self.names[name, form] = q
        return q

    def form(self, name, form):
        """The quantized tensor's name."""
        return self.names[name, form]

    def emit(self, cls, out, macs=0, **fields):
        origin = self.current.origin
        self.out.ops.append(cls(out=out, origin=qg.Origin(origin.node, origin.module, macs), **fields))

    # -- conversions ------------------------------------------------------------------------------------------

    def others(self, name, done):
        """Produce the remaining forms of ``name`` from the form ``done``."""
        for form in self.plan.forms[name]:
            if (name, form) not in self.names:
                source = self.plan.target(name, done)
                self.requant(self.form(name, done), source, self.new(name, form), self.plan.target(name, form))

    def requant(self, x, source, out, target, scale=1.0, shift=0.0, table=None):
        """``out = (x * scale + shift)`` from one integer form to another, per feature."""
        features = self.out.tensors[out].features
        real = np.broadcast_to(np.asarray(source.scale * scale, np.float64), features)
        factor = np.broadcast_to(real / target.scale, features)
        offset = np.broadcast_to(np.asarray(shift, np.float64), features)
        safe = np.where(real == 0, 1.0, real)
        bias = np.floor(np.where(real == 0, 0.0, offset / safe) + 0.5) - source.zero
        if np.any(np.abs(bias) >= 2**30) or np.any((real == 0) & (offset != 0)):
            raise CompileError(f"a shift is too large beside its scale to be requantized, at {self.current.origin}")
        rescale = integers.linear_rescale(factor, bias, target.dtype, target.zero)
        self.emit(qg.Requant, out, x=x, rescale=rescale, table=table)

    # -- operations -------------------------------------------------------------------------------------------

    def run(self):
        for op in self.graph.ops:
            self.current = op
            getattr(self, type(op).__name__)(op)
        for output in self.graph.outputs:
            if output.tensor is not None:
                form = next(f for f in ("int16", "linear") if (output.tensor, f) in self.names)
                self.out.outputs.append(qg.Output(self.names[output.tensor, form], tuple(output.shape)))
        return self.out

    def FInput(self, op):
        shape = self.graph.tensors[op.out]
        binding = {"value": op.value, "rows": shape.rows, "features": shape.features, "kind": op.kind}
        if op.kind != "float":
            dtype = "int32" if op.kind == "ids" else "bool"
            name = self.tensor(op.out, shape.rows, shape.features, _plain(dtype), op.origin)
            self.names[op.out, None] = name
            self.emit(qg.Input, name)
            self.bindings.append({**binding, "tensor": name} | ({"limit": op.limit} if op.kind == "ids" else {}))
            return
        for form in self.plan.forms[op.out]:
            name, target = self.new(op.out, form), self.plan.target(op.out, form)
            self.emit(qg.Input, name)
            self.bindings.append({**binding, "tensor": name, "scale": [float(s) for s in target.scale],
                                  "zero": int(target.zero), "dtype": target.dtype})

    def FConst(self, op):
        shape = self.graph.tensors[op.out]
        if op.values.dtype.is_floating_point:
            for form in self.plan.forms[op.out]:
                name, target = self.new(op.out, form), self.plan.target(op.out, form)
                self.emit(qg.Constant, name,
                          values=integers.quantize_array(op.values.numpy(), target.scale, target.dtype, target.zero))
            return
        name = self.tensor(op.out, shape.rows, shape.features, _plain("bool"), op.origin)
        self.names[op.out, None] = name
        self.emit(qg.Constant, name, values=op.values.numpy())

    def FEmbed(self, op):
        target = self.plan.target(op.out, "int16")
        self.emit(qg.Embed, self.new(op.out, "int16"), ids=self.form(op.ids, None),
                  table=integers.quantize_array(op.table.numpy(), target.scale, "int16"))
        self.others(op.out, "int16")

    def FAdd(self, op):
        linear = self.plan.fused_linear(op)
        if linear is not None:
            other = op.b if op.a == linear.out else op.a
            self.linear(linear, op.out, "int16", residual=self.form(other, "int16"))
        else:
            self.emit(qg.Add, self.new(op.out, "int16"), a=self.form(op.a, "int16"), b=self.form(op.b, "int16"))
        self.others(op.out, "int16")

    def FSelect(self, op):
        for form in self.plan.forms[op.out]:
            self.emit(qg.SelectRows, self.new(op.out, form), x=self.form(op.x, form), index=op.index.numpy())

    def FConcat(self, op):
        self.emit(qg.Concat, self.new(op.out, "int16"), parts=tuple(self.form(part, "int16") for part in op.parts),
                  index=op.index.numpy())
        self.others(op.out, "int16")

    def FAffine(self, op):
        source = self.plan.target(op.x, "int16")
        for form in self.plan.forms[op.out]:
            self.requant(self.form(op.x, "int16"), source, self.new(op.out, form), self.plan.target(op.out, form),
                         op.scale.numpy().astype(np.float64), op.shift.numpy().astype(np.float64))

    def FMultiply(self, op):
        sources = [(name, self.plan.factor(name)) for name in (op.a, op.b)]
        a, b = (self.plan.target(*source) for source in sources)
        form = "int16" if "int16" in self.plan.forms[op.out] else self.plan.forms[op.out][0]
        target, features = self.plan.target(op.out, form), self.graph.tensors[op.out].features
        factor = np.broadcast_to(a.scale * b.scale / target.scale, features)
        self.emit(qg.Multiply, self.new(op.out, form), a=self.form(*sources[0]), b=self.form(*sources[1]),
                  rescale=integers.linear_rescale(factor, np.zeros(features), target.dtype, target.zero))
        self.others(op.out, form)

    def FRotary(self, op):
        peak = float(torch.maximum(op.cos.abs().max(), op.sin.abs().max()))
        # 14 bits hold 1 exactly; tables with larger entries (scaled angles) have fewer.
        fraction = 14 - max(0, int(np.ceil(np.log2(max(peak, 1e-9) / 1.999))))
        if fraction < 1:
            raise CompileError(f"rotary tables reach {peak:.4g}, beyond int16 with a fraction bit, at {op.origin}")
        cos, sin = (self.angle_table(kind, table, fraction, op) for kind, table in (("cos", op.cos), ("sin", op.sin)))
        self.emit(qg.Rotary, self.new(op.out, "int16"), x=self.form(op.x, "int16"), cos=cos, sin=sin,
                  head_dim=op.head_dim, fraction=fraction)
        self.others(op.out, "int16")

    def angle_table(self, kind, table, fraction, op):
        """Constant int16 tensor of a rotary table; equal ones of all layers are one."""
        values = integers.quantize_array(table.numpy(), 2.0**-fraction, "int16")
        key = (values.shape, values.tobytes())
        if key not in self.angles:
            self.angles[key] = self.tensor(kind, *values.shape, _Index(np.array([2.0**-fraction]), 0, "int16"), op.origin)
            self.emit(qg.Constant, self.angles[key], values=values)
        return self.angles[key]

    def FUnary(self, op):
        linear = self.plan.fused_linear(op)
        form = self.plan.eight(op.out)
        if self.plan.is_relu(op):
            self.linear(linear, op.out, form)
        else:
            table, wide = self.plan.tables(op)
            index = _Index(self.plan.per_neuron(op, table.in_scale, wide and wide.in_scale), table.in_zero, "int8")
            if linear is not None:
                second = {"wide": self.plan.wide[op.out], "wide_table": wide.values} if wide else {}
                self.linear(linear, op.out, form, target=index, table=table.values, **second)
            else:
                source, x = self.plan.target(op.x, "int16"), self.form(op.x, "int16")
                self.requant(x, source, self.new(op.out, form), index, table=table.values)
        self.others(op.out, form)

    def FNorm(self, op):
        source = self.plan.target(op.x, "int16")
        features = len(op.gamma)
        eps = int(np.floor(op.eps * features**2 / float(source.scale[0]) ** 2 + 0.5))
        if eps >= 2**59:
            raise CompileError(f"the norm's epsilon {op.eps} is too large beside its input's range, at {op.origin}")
        forms = sorted(self.plan.forms[op.out], key=str)
        # Two forms are direct: int16 first, then the linear layers' input; any further one is requantized.
        direct = [f for f in ("int16", self.plan.eight(op.out)) if f in forms] or forms[:1]
        gamma, beta = op.gamma.numpy(), op.beta.numpy()
        outs, rescales = [], []
        for form in direct:
            target = self.plan.target(op.out, form)
            outs.append(self.new(op.out, form))
            rescales.append(integers.norm_rescale(gamma, beta, target.scale, target.dtype, target.zero))
        second = {"out2": outs[1], "rescale2": rescales[1]} if len(outs) > 1 else {}
        self.emit(qg.Norm, outs[0], x=self.form(op.x, "int16"), kind=op.kind, eps=eps, rescale=rescales[0], **second)
        self.others(op.out, direct[0])

    def FLinear(self, op):
        if op.out in self.plan.activation or op.out in self.plan.residual:
            return
        forms = self.plan.forms[op.out]
        first = forms[0] if len(forms) == 1 else "int16"
        self.linear(op, op.out, first)
        self.others(op.out, first)

    def linear(self, op, out, form, target=None, **extra):
        """Emit layer ``op`` with results in ``form`` of float tensor ``out`` (``target``: of the table's index)."""
        source = self.plan.target(op.x, self.plan.source(op))
        target = target or self.plan.target(out, form)
        features = op.weight.shape[1]
        weight, bias = op.weight.numpy().astype(np.float64), op.bias.numpy().astype(np.float64)
        scale = np.broadcast_to(source.scale, features)
        real = self.plan.observed[self.plan.root(op.x)].rows.astype(np.float64)
        seen = integers.quantize_array(real, scale, source.dtype, source.zero).astype(np.float64) - source.zero
        chosen = self.plan.choices(op).weights
        if op.steps is None:
            q, step, compressed = layer_weights(weight * scale, bias, seen, chosen, op.circulant)
        else:
            steps = op.steps.numpy()
            q, step = np.floor(weight / steps[:, None] + 0.5).astype(np.int8), steps * scale[0]
            compressed = None
        # A model that comes quantized was trained or calibrated with the error in it.
        if self.plan.choices(op).correct_bias and op.steps is None and op.given is None:
            bias = bias - (seen.mean(0) @ (q * step[:, None]).T - real.mean(0) @ weight.T)
        integer_bias = np.floor(bias / step + 0.5).astype(np.int64) - source.zero * q.sum(1, dtype=np.int64)
        integers.check_accumulator(q, integer_bias, source.dtype, op.origin)
        rescale = integers.linear_rescale(step / target.scale, integer_bias, target.dtype, target.zero)
        name = self.new(out, form)
        self.out.ops.append(qg.Linear(out=name, origin=op.origin, x=self.form(op.x, self.plan.source(op)), weight=q,
                                      rescale=rescale, compressed=compressed, chosen=chosen,
                                      named=self.plan.options.names(op.origin.module),
                                      misfit=misfit(op.weight, chosen, op.circulant, op.steps is not None), **extra))

    def FAttention(self, op):
        roles = [(name, (role, op.out)) for role, name in zip("qkv", (op.q, op.k, op.v))]
        factor = self.plan.attention(op)[0].product * op.scale * integers.LOG2E * 32
        if factor <= 0:
            raise CompileError(f"attention scores must be scaled by a positive number, not {op.scale}, at {op.origin}")
        score_mult, score_shift = integers.scalar_multiplier(factor, 2**16)
        form = self.plan.result(op)
        v, out = self.plan.target(op.v, ("v", op.out)), self.plan.target(op.out, form)
        ratio = float(v.scale[0] / out.scale[0])
        mult, shift = integers.scalar_multiplier(128 * ratio)
        names = [self.form(name, form) for name, form in roles]
        self.emit(qg.Attention, self.new(op.out, form), macs=op.origin.macs, q=names[0], k=names[1], v=names[2],
                  heads=op.heads, kv_heads=op.kv_heads, head_dim=op.head_dim, batch=op.batch, q_len=op.q_len,
                  k_len=op.k_len, score_mult=score_mult, score_shift=score_shift, out_mult=mult, out_shift=shift,
                  block=self.out.key_block, mask=None if op.mask is None else self.form(op.mask, None), causal=op.causal)
        self.others(op.out, form)


class _Index:
    """Form of a table's index."""

    def __init__(self, scale, zero, dtype):
        self.scale, self.zero, self.dtype = scale, zero, dtype


def _plain(dtype):
    return _Index(np.ones(1), 0, dtype)


def build(graph, plan, key_block, added=frozenset()):
    """``(QGraph, bindings)``: the quantized graph, and what the host puts into each of its inputs.

    ``added``: tensors of the float graph that the model does not have.
    """
    builder = _Build(graph, plan, key_block, added)
    return builder.run(), builder.bindings
