"""Random quantized graphs for the lowering's tests, and the comparison of golden model and reference executor."""

from dataclasses import replace

import numpy as np

from weft import qgraph as qg
from weft.weights import CirculantWeights, GroupedWeights
from weft.workloads import zeroed

__all__ = ["GraphMaker", "random_inputs", "golden_outputs", "check_graph", "with_zeros"]


class GraphMaker:
    """Builds a quantized graph step by step; every method returns the new tensor's name."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.graph = qg.QGraph()
        self._count = 0

    def _tensor(self, rows, features, dtype):
        name = f"t{self._count}"
        self._count += 1
        self.graph.tensors[name] = qg.QTensor(name, rows, features, dtype, np.ones(1))
        return name

    def _shape(self, name):
        return self.graph.tensors[name].shape

    def _rescale(self, n, dtype, gain, norm=False):
        r = self.rng
        shift = np.full(n, 16 if norm else 20, np.int32) - r.integers(0, 3, n).astype(np.int32)
        mult = np.clip(gain * 2.0 ** shift * r.uniform(0.5, 1, n), -131072, 131071).astype(np.int32)
        bias = r.integers(-200, 200, n).astype(np.int32) << (10 if norm else 0)
        zero = int(r.integers(-20, 20)) if dtype == "int8" else 0
        return qg.Rescale(bias, mult, shift, dtype, zero)

    def input(self, rows, features, dtype="int8"):
        name = self._tensor(rows, features, dtype)
        self.graph.ops.append(qg.Input(out=name))
        return name

    def constant(self, rows, features, dtype="int16"):
        name = self._tensor(rows, features, dtype)
        values = self.rng.random((rows, features)) < 0.7 if dtype == "bool" else \
            self.rng.integers(-1000, 1000, (rows, features)).astype(dtype)
        self.graph.ops.append(qg.Constant(out=name, values=values))
        return name

    def embed(self, ids, features, vocabulary=50):
        name = self._tensor(self._shape(ids)[0], features, "int16")
        table = self.rng.integers(-3000, 3000, (vocabulary, features)).astype(np.int16)
        self.graph.ops.append(qg.Embed(out=name, ids=ids, table=table))
        return name

    def linear(self, x, n, dtype="int8", residual=None, table=False, wide=0, group=None, block=None, kept=4):
        """``group``: of 4-bit weights, inputs that share a scale; ``block``: size of circulant blocks; ``kept``: weights other than
        zero among 4 inputs."""
        rows, k = self._shape(x)
        name = self._tensor(rows, n, dtype)
        weight, form = self.rng.integers(-127, 128, (n, k)).astype(np.int8), None
        if group:
            form = GroupedWeights((weight >> 4).astype(np.int8),
                                  self.rng.integers(1, 16, (n, -(-k // group))).astype(np.uint8), group)
            weight = form.expand()
        if block:
            form = CirculantWeights(np.ascontiguousarray(weight[:n // block, :k // block * block].reshape(n // block, -1, block)))
            weight = form.expand()
        if kept < 4:
            places = self.rng.random((n, -(-k // 4), 4)).argsort(-1).argsort(-1)
            weight = weight * (places < kept).reshape(n, -1)[:, :k]
        gain = {"int8": 60, "uint8": 60, "int16": 4000}[dtype] / (74 * 74 * np.sqrt(k))
        rescale = self._rescale(n, "int8" if table else dtype, gain)
        values = self.rng.integers(-100, 100, 256).astype(dtype) if table else None
        more = dict(wide=wide, wide_table=self.rng.integers(-100, 100, 256).astype(dtype)) if wide else {}
        self.graph.ops.append(qg.Linear(out=name, x=x, weight=weight, rescale=rescale, table=values, residual=residual,
                                        compressed=form, **more))
        return name

    def add(self, a, b):
        name = self._tensor(*self._shape(a), "int16")
        self.graph.ops.append(qg.Add(out=name, a=a, b=b))
        return name

    def norm(self, x, kind="layer", two=True):
        rows, n = self._shape(x)
        out = self._tensor(rows, n, "int8")
        out2 = self._tensor(rows, n, "int16") if two else None
        self.graph.ops.append(qg.Norm(
            out=out, x=x, kind=kind, eps=1000, rescale=self._rescale(n, "int8", 40 / 4096, norm=True), out2=out2,
            rescale2=self._rescale(n, "int16", 0.25, norm=True) if two else None))
        return (out, out2) if two else out

    def attention(self, q, k, v, heads, kv_heads=None, batch=1, mask=None, causal=False, block=64):
        rows, features = self._shape(q)
        dim, k_len = features // heads, self._shape(k)[0] // batch
        name = self._tensor(rows, features, "int8")
        self.graph.ops.append(qg.Attention(
            out=name, q=q, k=k, v=v, heads=heads, kv_heads=kv_heads or heads, head_dim=dim, batch=batch,
            q_len=rows // batch, k_len=k_len, score_mult=int(1000 / np.sqrt(dim)), score_shift=14, out_mult=100000,
            out_shift=10, block=block, mask=mask, causal=causal))
        return name

    def requant(self, x, dtype="int8", table=False):
        rows, n = self._shape(x)
        name = self._tensor(rows, n, dtype)
        source = self.graph.tensors[x].dtype
        gain = {"int16": 0.02, "int8": 0.8, "uint8": 0.5}[source]
        values = self.rng.integers(-100, 100, 256).astype(dtype) if table else None
        rescale = self._rescale(n, "int8" if table else dtype, gain)
        self.graph.ops.append(qg.Requant(out=name, x=x, rescale=rescale, table=values))
        return name

    def multiply(self, a, b, dtype="int8"):
        rows, n = self._shape(a)
        name = self._tensor(rows, n, dtype)
        peaks = [{"int8": 64, "int16": 2000}[self.graph.tensors[t].dtype] for t in (a, b)]
        rescale = self._rescale(n, dtype, {"int8": 50, "int16": 8000}[dtype] / (peaks[0] * peaks[1]))
        rescale = qg.Rescale(np.zeros(n, np.int32), rescale.mult, rescale.shift, dtype, rescale.zero)
        self.graph.ops.append(qg.Multiply(out=name, a=a, b=b, rescale=rescale))
        return name

    def angles(self, rows, dim, fraction=14):
        """Tables of cosines and sines by row, and how many fraction bits they have."""
        names = [self._tensor(rows, dim, "int16") for _ in range(2)]
        angle = self.rng.uniform(0, 6, (rows, dim))
        for name, table in zip(names, (np.cos(angle), np.sin(angle))):
            self.graph.ops.append(qg.Constant(out=name, values=np.floor(table * 2**fraction + 0.5).astype(np.int16)))
        return *names, dim, fraction

    def rotary(self, x, cos, sin, dim, fraction):
        name = self._tensor(*self._shape(x), "int16")
        self.graph.ops.append(qg.Rotary(out=name, x=x, cos=cos, sin=sin, head_dim=dim, fraction=fraction))
        return name

    def select(self, x, index):
        name = self._tensor(len(index), self._shape(x)[1], self.graph.tensors[x].dtype)
        self.graph.ops.append(qg.SelectRows(out=name, x=x, index=np.asarray(index, np.int64)))
        return name

    def concat(self, parts, index):
        name = self._tensor(len(index), self._shape(parts[0])[1], self.graph.tensors[parts[0]].dtype)
        self.graph.ops.append(qg.Concat(out=name, parts=tuple(parts), index=np.asarray(index, np.int64)))
        return name

    def output(self, *names):
        for name in names:
            self.graph.outputs.append(qg.Output(name, self._shape(name)))
        return self.graph


def random_inputs(graph, seed=0, limit=50):
    """Random integers for every input of ``graph``."""
    rng, result = np.random.default_rng(seed), {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if tensor.dtype == "int32":
            result[name] = rng.integers(0, limit, tensor.shape).astype(np.int32)
        elif tensor.dtype == "bool":
            result[name] = rng.random(tensor.shape) < 0.7
        else:
            low, high = qg.DTYPES[tensor.dtype]
            scale = 8 if tensor.dtype == "int16" else 1
            result[name] = rng.integers(low // scale, high // scale + 1, tensor.shape).astype(tensor.dtype)
    return result


def golden_outputs(lowered, inputs):
    """Output tensors by name, computed by the golden model from the encoded program."""
    from weft.lower.host import pack_input, unpack_output
    from weft.sim.golden import GoldenMachine

    config = lowered.image.config
    result = GoldenMachine(lowered.image).run({t.name: pack_input(config, t, inputs[t.name]) for t in lowered.inputs})
    return {t.name: unpack_output(config, t, result.outputs[t.name]) for t in lowered.outputs if t.place == "output"}


def check_graph(graph, config, seed=0):
    """Asserts that the encoded program computes what the quantized graph says; returns the `Lowered`."""
    from weft.lower.lowering import lower

    inputs = random_inputs(graph, seed)
    expected = graph.run(inputs)
    lowered = lower(graph, config)
    actual = golden_outputs(lowered, inputs)
    for name, values in actual.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    assert set(actual) == {o.tensor for o in graph.outputs}
    return lowered


def with_zeros(graph, config, share, seed, panels=1):
    """Every linear layer with random tiles of zeros that cover so many times ``config.rows`` inputs, some of its panels of outputs
    zero throughout."""
    rng = np.random.default_rng(seed)

    def changed(op):
        if not isinstance(op, qg.Linear):
            return op
        n, k = op.weight.shape
        zero = rng.random((-(-n // config.cols), -(-k // (panels * config.rows)))) < share
        return zeroed(op, zero | (rng.random((len(zero), 1)) < 0.2), config.cols, panels * config.rows)

    return replace(graph, ops=[changed(op) for op in graph.ops])
