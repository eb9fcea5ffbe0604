"""Which instruction of a program computes which part of which tensor: lets a run be compared with the float model.

A program file carries this instead of the quantized graph. It costs three integers an instruction and the scales of the
tensors, needs no weights, and what is compared is what the encoded program computes, whatever compression its weights
went through.
"""

from dataclasses import asdict, dataclass

import numpy as np

from .layout import Channels

__all__ = ["Probe", "Probes"]

_DTYPES = {"int8": np.int8, "uint8": np.uint8, "int16": np.dtype("<i2")}


@dataclass(frozen=True, eq=False)
class Probe:
    """A tensor that the accelerator computes; its value is ``(q - zero) * scale``.

    ``source``: the tensor of the float graph that it approximates, whose feature ``order[i]`` is feature i (None: the
    same order); ``module``, ``node``: where the model computes it; ``operation``: name of the `weft.qgraph` operation;
    ``block``: see `weft.lower.layout.Channels`.
    """
    name: str
    source: str
    module: str
    node: str
    operation: str
    dtype: str
    rows: int
    features: int
    block: int
    zero: int
    scale: np.ndarray
    order: np.ndarray | None = None


class _Collector:
    """Puts what the golden model observes into whole tensors, ``values``: int64[batch, rows, features] by name."""

    def __init__(self, probes, config, batch):
        self._probes, self._config = probes, config
        self._channels = [Channels(p.features, p.block, config.panel) for p in probes.tensors]
        self.values = {p.name: np.zeros((batch, p.rows, p.features), np.int64) for p in probes.tensors}

    def add(self, operation, first_tile, values):
        """Takes one call of ``observe`` of `weft.sim.golden.GoldenMachine.run`."""
        number, row, panel = self._probes.places[operation.pc]
        if number < 0:
            return
        probe, c = self._probes.tensors[number], self._config
        if operation.mnemonic == "GATHER":
            dtype = np.dtype(_DTYPES[probe.dtype])
            lines = values.reshape(*values.shape[:2], -1, c.word_bytes * dtype.itemsize)
            used = np.ascontiguousarray(lines[..., :c.panel * dtype.itemsize])
            values = used.view(dtype).reshape(*values.shape[:2], -1)
        first = panel * c.panel + first_tile * c.cols
        features = self._channels[number].map[first:first + values.shape[2]]
        kept = np.flatnonzero(features >= 0)
        rows = min(values.shape[1], probe.rows - row)
        if rows > 0:
            self.values[probe.name][:, row:row + rows, features[kept]] = values[:, :rows, kept]


class Probes:
    """The tensors a program computes and, for each instruction, its place in one of them.

    ``tensors``: list of `Probe`; ``places``: int32[instructions, 3] of tensor number (-1: none), first row, first panel.
    """

    def __init__(self, tensors, places):
        self.tensors, self.places = tensors, places

    @classmethod
    def of_program(cls, graph, channels, results):
        """From a lowered `weft.qgraph.QGraph`, the `Channels` of its tensors and each instruction's
        `weft.lower.builder.Item.result`."""
        writers = {name: type(op).__name__ for op in graph.ops for name in op.writes}
        numbers = {name: n for n, name in enumerate(dict.fromkeys(result[0] for result in results if result))}
        tensors = []
        for name in numbers:
            t = graph.tensors[name]
            tensors.append(Probe(name, t.source, t.origin.module, t.origin.node, writers[name], t.dtype, t.rows,
                                 t.features, channels[name].block, int(t.zero), np.asarray(t.scale, np.float64), t.order))
        places = np.array([(numbers[r[0]], r[1], r[2]) if r else (-1, 0, 0) for r in results], np.int32)
        return cls(tensors, places.reshape(-1, 3))

    @property
    def description(self):
        """Everything but the arrays, as JSON values."""
        return [{n: v for n, v in asdict(t).items() if n not in ("scale", "order")} for t in self.tensors]

    @property
    def arrays(self):
        """The arrays by name."""
        arrays = {"places": self.places}
        for number, tensor in enumerate(self.tensors):
            arrays[f"{number}.scale"] = tensor.scale
            if tensor.order is not None:
                arrays[f"{number}.order"] = tensor.order
        return arrays

    @classmethod
    def from_description(cls, description, arrays):
        """The probes that `description` and `arrays` were taken from."""
        return cls([Probe(**t, scale=arrays[f"{n}.scale"], order=arrays.get(f"{n}.order"))
                    for n, t in enumerate(description)], arrays["places"])

    def collector(self, config, batch):
        """An object whose ``add`` observes a golden run of ``batch`` inputs and whose ``values`` are the tensors."""
        return _Collector(self, config, batch)
