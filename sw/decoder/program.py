"""A compiled decoder: prefill and decode programs in one memory, saved and loaded as one file."""

from dataclasses import asdict, dataclass, field

import numpy as np

from weft.container import image_description, image_from, named, write_container
from weft.hw import isa
from weft.hw.image import Image

__all__ = ["DecoderProgram", "Step"]

#: Work and traffic of rows and of pairs of a row and a key.
_COUNTS = ("macs_per_row", "macs_per_key", "weight_bytes", "row_bytes", "cache_row_bytes", "skipped_per_row", "skipped_per_key")


@dataclass
class Step:
    """A program that computes the logits of ``rows`` tokens at a position (scalar register ``POSITION`` of
    `weft.lower.positions`).

    ``image``: the memory with this program's code; ``ids``, ``logits``: its input and output (`weft.lower.HostTensor`);
    ``probes``: which instruction computes what (`weft.lower.probes.Probes`), rows counted from the position.
    """
    image: Image
    ids: object
    logits: object
    probes: object = None

    @property
    def rows(self):
        """Tokens of one run."""
        return self.ids.rows


@dataclass
class DecoderProgram:
    """A decoder compiled for one configuration; `session` runs it.

    ``steps``: `Step` by name: "prefill" takes many tokens, "decode" as few as the memory port allows, one unless
    it is wider than a scratchpad word. ``max_length``: positions; ``vocabulary``: token ids are below it;
    ``scale`` (float64[1] or [features]) and ``zero`` of the logits. ``macs_per_row``, ``macs_per_key``,
    ``row_bytes``, ``cache_row_bytes``, ``layer_macs``: work and traffic, see `weft.decoder.Steps`, less what tiles of zeros save;
    ``weight_bytes``: what every run must move, however many rows it has; ``skipped_per_row``, ``skipped_per_key``: MACs of the
    model that are not computed. ``stop``: token ids that end a text. ``assets``: named bytes that travel with the program, such as
    a tokenizer.
    """
    steps: dict
    max_length: int
    vocabulary: int
    scale: np.ndarray
    zero: int
    macs_per_row: int
    macs_per_key: int
    weight_bytes: int
    row_bytes: int
    cache_row_bytes: int
    skipped_per_row: int = 0
    skipped_per_key: int = 0
    stop: tuple = ()
    assets: dict = field(default_factory=dict)
    layer_macs: dict = field(default_factory=dict)

    def __post_init__(self):
        self._rtl, self._golden = None, {}

    @property
    def config(self):
        """The `weft.Config` it was compiled for."""
        return self.steps["decode"].image.config

    def session(self, backend="rtl", **options):
        """A `weft.decoder.Session` with an empty cache; ``options`` are the session's."""
        from weft.decoder.session import Session

        return Session(self, backend, **options)

    def predicted_cycles(self, name, position):
        """Cycles of a run of program ``name`` of ``steps`` at a position with the reference memory, by the performance model
        (`weft.performance`)."""
        from weft.lower.positions import POSITION
        from weft.performance import predict

        image = self.steps[name].image
        return predict(image, {**image.registers, POSITION: position}).cycles

    def disassemble(self):
        """Lines of text, one an instruction, each with the layer it came from."""
        for name, step in self.steps.items():
            yield f"; {name}: {step.rows} tokens"
            for line, source in zip(isa.disassemble(step.image.code), step.image.sources):
                yield f"{line}  ; {source}" if source else line

    # Simulations, made when they are first needed and shared by all sessions.

    def prepare(self):
        """Builds and loads the RTL simulation, so that the first run does not have to."""
        from weft.sim.rtl import RtlMachine

        if self._rtl is None:
            self._rtl = RtlMachine(self.config)
        return self._rtl

    def golden(self, name):
        """The golden model with program ``name`` of ``steps``."""
        from weft.sim.golden import GoldenMachine

        if name not in self._golden:
            self._golden[name] = GoldenMachine(self.steps[name].image)
        return self._golden[name]

    def intermediates(self, ids):
        """Integer values of every tensor that the program computes for token ids int[tokens] from position 0 on:
        ``{tensor: int64[tokens, features]}``, what the golden model wrote, all of it by the program ``prefill``."""
        step, session, parts = self.steps["prefill"], self.session("golden"), []
        for start in range(0, len(ids), step.rows):
            collector = step.probes.collector(self.config, 1)
            part = ids[start:start + step.rows]
            session.run("prefill", part, start, len(part), collector.add)
            parts.append({name: values[0, :len(part)] for name, values in collector.values.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    # Files.

    def save(self, path):
        """Writes the program file, all of it or nothing."""
        tensors = {"constant": self.steps["decode"].image.constant, "logits.scale": np.asarray(self.scale, np.float64)}
        steps = []
        for name, step in self.steps.items():
            image, tensors[f"{name}.sources"] = image_description(step.image)
            steps.append({"name": name, "ids": asdict(step.ids), "logits": asdict(step.logits), **image})
            if step.probes is not None:
                steps[-1]["probes"] = step.probes.description
                tensors |= {f"{name}.probe.{key}": array for key, array in step.probes.arrays.items()}
        tensors |= {f"asset.{name}": np.frombuffer(bytes(data), np.uint8) for name, data in self.assets.items()}
        values = {n: int(getattr(self, n)) for n in ("max_length", "vocabulary", "zero", *_COUNTS)}
        write_container(path, {"kind": "decoder", "isa": isa.VERSION, "config": self.config.to_dict(), "steps": steps,
                               "stop": [int(n) for n in self.stop], "layer_macs": self.layer_macs, **values},
                        tensors)

    @classmethod
    def from_container(cls, description, tensors, config):
        """The program of what `weft.container.read_program` returned."""
        from weft.lower import HostTensor
        from weft.lower.probes import Probes

        d, steps = description, {}
        for step in d["steps"]:
            image = image_from(config, tensors["constant"], step, tensors[f"{step['name']}.sources"])
            probes = None
            if "probes" in step:
                probes = Probes.from_description(step["probes"], named(tensors, f"{step['name']}.probe."))
            steps[step["name"]] = Step(image, HostTensor(**step["ids"]), HostTensor(**step["logits"]), probes)
        return cls(steps, d["max_length"], d["vocabulary"], tensors["logits.scale"], d["zero"],
                   *(d[name] for name in _COUNTS), tuple(d["stop"]),
                   {n: a.tobytes() for n, a in named(tensors, "asset.").items()}, d["layer_macs"])
