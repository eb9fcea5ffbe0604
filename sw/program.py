"""A compiled program: saved, loaded, run on the golden model or the RTL, verified."""

import time
from dataclasses import asdict, dataclass, field

import numpy as np

from weft.container import image_description, image_from, named, write_container
from weft.hw import isa
from weft.hw.errors import InputError
from weft.hw.image import Image
from weft.stats import Stats, roofline_cycles

__all__ = ["Program", "Result", "InputInfo"]

#: Runs that the golden model computes at once; more only cost memory.
_GOLDEN_BATCH = 16


@dataclass(frozen=True)
class Result:
    """Outputs of a run, float32 arrays in the order of the exported graph's outputs, its `Stats`, and from a machine that
    profiles its `weft.sim.rtl.recording.Recording`."""
    outputs: list
    stats: Stats
    recording: object = None


@dataclass(frozen=True)
class InputInfo:
    """An input of the compiled model: how to name it, its shape and dtype."""
    name: str
    shape: tuple
    dtype: str


@dataclass
class Program:
    """A model compiled for one configuration.

    ``image``: what lies in the accelerator's memory (`weft.hw.image.Image`); ``host``: what runs before and after
    (`weft.quantize.host.HostProgram`); ``tensors``, ``results``: accelerator inputs and outputs
    (`weft.lower.HostTensor`); ``macs``, ``skipped_macs``: see `weft.stats.Stats`; ``compulsory_bytes``: traffic that no
    schedule avoids; ``weight_bytes``: linear layers' weights as they are stored; ``assets``: named bytes that travel with the
    program, such as a tokenizer; ``probes``: which instruction computes what (`weft.lower.probes.Probes`); ``layer_macs``: MACs
    by the names in ``image.sources``.
    """
    image: Image
    host: object
    tensors: list
    results: list
    macs: int
    compulsory_bytes: int
    probes: object
    assets: dict = field(default_factory=dict)
    layer_macs: dict = field(default_factory=dict)
    skipped_macs: int = 0
    weight_bytes: int = 0

    @classmethod
    def from_lowered(cls, lowered, host):
        """The program of a `weft.lower.Lowered`."""
        return cls(lowered.image, host, lowered.inputs, lowered.outputs, lowered.macs, lowered.compulsory_bytes,
                   lowered.probes, layer_macs=lowered.layer_macs, skipped_macs=lowered.skipped_macs,
                   weight_bytes=lowered.weight_bytes)

    def __post_init__(self):
        self._golden = self._rtl = None

    # What it is.

    @property
    def config(self):
        """The `weft.Config` it was compiled for."""
        return self.image.config

    @property
    def inputs(self):
        """The model's inputs, as `InputInfo`."""
        from weft.quantize.host import path_text

        return [InputInfo(path_text(leaf["path"]), tuple(leaf["shape"]), leaf["dtype"])
                for leaf in self.host.leaves if "fixed" not in leaf]

    @property
    def roofline_cycles(self):
        """Cycles below which neither the array nor the memory port can go."""
        return roofline_cycles(self.config, self.macs, self.compulsory_bytes)

    @property
    def predicted_cycles(self):
        """Cycles of a run with the reference memory, by the performance model (`weft.performance`)."""
        from weft.performance import predict

        return predict(self.image).cycles

    def disassemble(self):
        """Lines of text, one an instruction, each with the layer it came from."""
        for line, source in zip(isa.disassemble(self.image.code), self.image.sources):
            yield f"{line}  ; {source}" if source else line

    # Files.

    def save(self, path):
        """Writes the program file, all of it or nothing."""
        description, sources = image_description(self.image)
        description |= {
            "kind": "model", "isa": isa.VERSION, "config": self.config.to_dict(),
            "inputs": [asdict(t) for t in self.tensors], "outputs": [asdict(t) for t in self.results],
            "macs": int(self.macs), "compulsory_bytes": int(self.compulsory_bytes), "host": self.host.description,
            "probes": self.probes.description, "layer_macs": self.layer_macs, "skipped_macs": int(self.skipped_macs),
            "weight_bytes": int(self.weight_bytes),
        }
        tensors = {"constant": self.image.constant, "sources": sources}
        tensors |= {f"probe.{name}": array for name, array in self.probes.arrays.items()}
        tensors |= {f"host.{name}": np.asarray(array) for name, array in self.host.arrays.items()}
        tensors |= {f"asset.{name}": np.frombuffer(bytes(data), np.uint8) for name, data in self.assets.items()}
        write_container(path, description, tensors)

    @classmethod
    def from_container(cls, description, tensors, config):
        """The program of what `weft.container.read_program` returned."""
        from weft.lower.lowering import HostTensor
        from weft.lower.probes import Probes
        from weft.quantize.host import HostProgram

        d = description
        return cls(image_from(config, tensors["constant"], d, tensors["sources"]),
                   HostProgram.from_description(d["host"], named(tensors, "host.")),
                   [HostTensor(**t) for t in d["inputs"]], [HostTensor(**t) for t in d["outputs"]],
                   d["macs"], d["compulsory_bytes"], Probes.from_description(d["probes"], named(tensors, "probe.")),
                   {n: a.tobytes() for n, a in named(tensors, "asset.").items()}, d["layer_macs"], d["skipped_macs"],
                   d["weight_bytes"])

    # Running.

    def prepare(self):
        """Builds and loads the RTL simulation, so that the first run does not have to."""
        from weft.sim.rtl import RtlMachine

        if self._rtl is None:
            self._rtl = RtlMachine(self.config)
        return self._rtl

    def _golden_machine(self):
        from weft.sim.golden import GoldenMachine

        if self._golden is None:
            self._golden = GoldenMachine(self.image)
        return self._golden

    def _pack(self, args, kwargs):
        """``(buffers by name, host state)`` for a run."""
        from weft.lower.host import pack_input

        values, state = self.host.prepare(args, kwargs)
        return {t.name: pack_input(self.config, t, values[t.name]) for t in self.tensors}, state

    def _unpack(self, inputs, outputs, state):
        """The model's results from the bytes of input and output buffers."""
        from weft.lower.host import unpack_output

        tensors = {}
        for tensor in self.results:
            if tensor.place == "constant":
                data = self.image.constant[tensor.offset:tensor.offset + tensor.bytes]
            else:
                data = (outputs if tensor.place == "output" else inputs)[tensor.name]
            tensors[tensor.name] = unpack_output(self.config, tensor, data)
        return self.host.finish(tensors, state)

    def _stats(self, rtl=None, golden=None, item=None, seconds=None):
        return Stats.of_run(self.config, self.macs, self.compulsory_bytes, rtl and rtl.stats, seconds,
                            skipped_macs=self.skipped_macs, golden=golden, item=item)

    def run(self, args=(), kwargs=None, backend="golden", memory="reference", seed=0, progress=None):
        """Runs the model on ``args`` and ``kwargs``.

        ``backend``: "golden", "rtl", or a `weft.Board`; ``memory``: of the RTL, "reference" or "stress" (random latencies and
        gaps from ``seed``); ``progress``: called with the cycles so far.

        Returns a `Result`. Raises InputError for arguments that do not fit, RunError if the accelerator stops.
        """
        if backend == "golden":
            return self.run_many([(args, kwargs)], count=True)[0]
        if isinstance(backend, str) and backend != "rtl":
            raise InputError(f"backend must be 'golden', 'rtl' or a board, not {backend!r}")
        inputs, state = self._pack(args, kwargs)
        machine = self.prepare() if backend == "rtl" else backend
        rtl = machine.run(self.image, inputs, memory=memory, seed=seed, progress=progress)
        return Result(self._unpack(inputs, rtl.outputs, state), self._stats(rtl))

    def run_many(self, batches, backend="golden", count=False):
        """Results of many ``(args, kwargs)``, in order; the golden model computes several at once. ``count``: it counts the
        multiplications that are gated, too."""
        batches = list(batches)
        if backend != "golden":
            return [self.run(args, kwargs, backend=backend) for args, kwargs in batches]
        results = []
        for start in range(0, len(batches), _GOLDEN_BATCH):
            began = time.perf_counter()
            packed = [self._pack(args, kwargs) for args, kwargs in batches[start:start + _GOLDEN_BATCH]]
            stacked = {t.name: np.stack([inputs[t.name] for inputs, _ in packed]) for t in self.tensors}
            golden = self._golden_machine().run(stacked, count=count)
            seconds = (time.perf_counter() - began) / len(packed)
            for number, (inputs, state) in enumerate(packed):
                mine = {name: data[number] if stacked else data for name, data in golden.outputs.items()}
                stats = self._stats(golden=golden, item=number if stacked else None, seconds=seconds)
                results.append(Result(self._unpack(inputs, mine, state), stats))
        return results

    def intermediates(self, batches):
        """Integer values of every tensor that a program computes, for ``(args, kwargs)`` of equal use as in `run_many`.

        Returns ``{tensor: int64[batches, rows, features]}``, what the golden model wrote; constants and inputs are not
        among them. Raises InputError as `run`.
        """
        packed = [self._pack(args, kwargs)[0] for args, kwargs in batches]
        stacked = {t.name: np.stack([inputs[t.name] for inputs in packed]) for t in self.tensors}
        collector = self.probes.collector(self.config, len(packed))
        self._golden_machine().run(stacked, observe=collector.add)
        return collector.values

    def verify(self, args=(), kwargs=None, memory="reference", seed=0, progress=None, machine=None):
        """Runs RTL and golden model and compares every byte written, in order; returns the RTL's `Result`.

        ``machine``: a `weft.sim.rtl.RtlMachine` to use instead of the program's.
        Raises Mismatch naming the first differing tensor, index and instruction.
        """
        from weft.sim.compare import compare

        inputs, state = self._pack(args, kwargs)
        rtl = (machine or self.prepare()).run(self.image, inputs, memory=memory, seed=seed, progress=progress)
        golden = self._golden_machine().run(inputs, count=True)
        compare(self.image, golden, rtl)
        return Result(self._unpack(inputs, rtl.outputs, state), self._stats(rtl, golden), rtl.recording)
