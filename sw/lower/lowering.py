"""From a quantized graph to the memory image of a program."""

from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from weft import qgraph
from weft.hw.errors import CompileError
from weft.hw.image import Image

from .assemble import assemble
from .builder import Item
from .channels import choose_channels, insert_conversions
from .context import Context, OutOfScratchpad, Regions
from .events import Space
from .layout import mask_row_words, pack_mask, pack_rows, round_up
from .memory import MemoryMap
from .modes import with_streamed_forms
from .ops import LOWER
from .ops.embed import ids_chunk
from .plan import choose_residents, lifetimes, placement_cost
from .probes import Probes
from .schedule import schedule
from .tensors import ELEMENTS, Tensor
from .traffic import compulsory_bytes
from .tuning import Tuning, best, predicted_cycles
from .zero_tiles import KeptTiles

__all__ = ["Lowered", "HostTensor", "Lowering", "fit", "lower", "prepare"]

#: Rows of which a panel makes bursts too short to be worth its own run in memory.
_FEW_ROWS = 8


@dataclass(frozen=True)
class HostTensor:
    """A tensor that the host writes or reads, and how it lies in its buffer (see ``hw/README.md``).

    ``kind``: "rows" (`int8`, `uint8`, `int16` panels), "ids" (int32, ``chunk`` of them every ``chunk_bytes``) or "mask".
    ``block``: features of one block of `weft.lower.layout.Channels`; ``offset``: first byte in memory; ``place``:
    "input", "output" or "constant".
    """
    name: str
    kind: str
    dtype: str
    rows: int
    features: int
    stored_rows: int
    block: int
    row_major: bool
    offset: int
    bytes: int
    place: str
    chunk: int = 0
    chunk_bytes: int = 0


@dataclass
class Lowered:
    """Result of `lower`: the image, its inputs and outputs, the compulsory memory traffic in bytes, which instruction
    computes what (`weft.lower.probes.Probes`; in a program that runs at a position, rows count from there), the MACs
    by layer (empty of such a program), and those of the graph that are not computed because of how weights are stored
    (of such a program over all positions). ``removed``: MACs that are in the graph no more. ``weight_bytes``: of linear layers'
    weights as they are stored, padding left out."""
    image: Image
    inputs: list
    outputs: list
    compulsory_bytes: int
    probes: Probes
    layer_macs: dict = field(default_factory=dict)
    skipped: dict = field(default_factory=dict)
    removed: int = 0
    weight_bytes: int = 0

    @property
    def macs(self):
        """MACs that are computed."""
        return sum(self.layer_macs.values())

    @property
    def skipped_macs(self):
        """MACs of the model that are not."""
        return self.removed + sum(self.skipped.values())


class _Ids:
    """Token ids or a mask in memory: what `Tensor` is for activations."""

    def __init__(self, rows, stored_rows, constant, memory):
        self.rows, self.stored_rows, self.constant, self.memory = rows, stored_rows, constant, memory


class Lowering:
    """One attempt at a graph: ``packed`` are weights packed before, ``spilled`` tensors that live in memory, ``share``
    the part of the scratchpad that weights get. ``memory``: `MemoryMap` to add to; ``program``: name that its buffers
    begin with; ``offsets``, ``tuning``: see `weft.lower.context.Context`."""

    def __init__(self, graph, config, packed, spilled, share, memory, program="", offsets=None, tuning=Tuning()):
        self.graph, self.config, self.program = graph, config, program
        self.memory = memory
        self.regions = Regions(config, share)
        self.channels = choose_channels(graph, config)
        self.hosts = {}
        rowwise = {name for op in graph.ops if isinstance(op, (qgraph.Embed, qgraph.Positions)) for name in op.writes}
        self.tensors = {name: Tensor(name, t.rows, self.channels[name], t.dtype, config,
                                     by_rows=t.rows < _FEW_ROWS or name in rowwise)
                        for name, t in graph.tensors.items() if t.dtype in ELEMENTS}
        self.residents = choose_residents(graph, self.tensors, self.regions.heap, config, spilled)
        self.spans = lifetimes(graph)
        self.places()
        striped = {name for op in graph.ops if isinstance(op, qgraph.Norm) for name in (*op.reads, *op.writes)}
        edges = set(self.hosts)
        self.ctx = Context(config, self.tensors, self.regions, self.memory, packed, offsets,
                           striped | edges if tuning.edges else striped, edges, tuning)
        self.resident_places = {}

    @property
    def spills(self):
        """Whether tensors that are read again have to live in memory."""
        return any(n not in self.residents and self.spans[n][1] > self.spans[n][0] and not self.is_given(n)
                   for n in self.tensors if n in self.spans)

    def is_given(self, name):
        return isinstance(self.graph.producer(name), (qgraph.Input, qgraph.Constant))

    def alive(self):
        """Resident tensors in the scratchpad right now."""
        return list(self.resident_places)

    def places(self):
        """Memory of inputs, constants, results and spilled tensors."""
        outputs = {o.tensor for o in self.graph.outputs}
        for op in self.graph.ops:
            if isinstance(op, qgraph.Input):
                self.tensors[op.out] = self.host_tensor(op.out, "input")
            elif isinstance(op, qgraph.Constant):
                self.tensors[op.out] = self.constant_tensor(op)
            else:
                for name in op.writes:
                    if name not in self.tensors:
                        raise CompileError(f"{op.origin}: no {self.graph.tensors[name].dtype} tensor can be computed")
                    if name in outputs:
                        self.host_tensor(name, "output")
                    elif name not in self.residents:
                        tensor = self.tensors[name]
                        tensor.memory = self.buffer(name, tensor.words * self.config.word_bytes, "work")

    def buffer(self, name, size, kind):
        """Offset of the buffer of tensor ``name``."""
        return self.memory.buffer(self.program + name, size, kind)

    def host_tensor(self, name, kind):
        """Buffer of an input or output tensor, described for the host."""
        c, q = self.config, self.graph.tensors[name]
        channels = self.channels[name]
        chunk = chunk_bytes = 0
        stored = round_up(q.rows, c.dma_words)
        row_major = False
        if q.dtype == "int32":
            layout = "ids"
            chunk, chunk_bytes = ids_chunk(c, stored)
            size = -(-stored // chunk) * chunk_bytes
        elif q.dtype == "bool":
            layout = "mask"
            stored += 1                 # strips that fill the DMA granule read one row more
            size = stored * mask_row_words(c, q.features) * c.word_bytes
        else:
            layout, tensor = "rows", self.tensors[name]
            stored, row_major, size = tensor.stored_rows, tensor.row_major, tensor.words * c.word_bytes
        offset = self.buffer(name, size, kind)
        self.hosts[name] = HostTensor(self.program + name, layout, q.dtype, q.rows, q.features, stored, channels.block,
                                      row_major, offset, size, kind, chunk, chunk_bytes)
        if layout == "rows":
            tensor.memory = offset
            return tensor
        return _Ids(q.rows, round_up(q.rows, c.dma_words), False, offset)

    def constant_tensor(self, op):
        c, name, q = self.config, op.out, self.graph.tensors[op.out]
        if q.dtype == "bool":
            data = pack_mask(c, op.values, round_up(q.rows, c.dma_words) + 1)
            return _Ids(q.rows, q.rows, True, self.memory.constant(data))
        if q.dtype == "int32":
            raise CompileError(f"{op.origin}: constant {name} of integers is read by an operation that takes none")
        tensor = self.tensors[name]
        data = pack_rows(c, op.values, tensor.channels, tensor.stored_rows, q.dtype, tensor.row_major)
        tensor.memory = self.memory.constant(data)
        tensor.constant = True
        self.hosts[name] = HostTensor(name, "rows", q.dtype, q.rows, q.features, tensor.stored_rows,
                                      tensor.channels.block, tensor.row_major, tensor.memory, data.size, "constant")
        return tensor

    def run(self):
        """Emits the whole graph; `OutOfScratchpad` where something found no room."""
        ctx, c = self.ctx, self.config
        places = self.resident_places
        for number, op in enumerate(self.graph.ops):
            if isinstance(op, (qgraph.Input, qgraph.Constant)):
                continue
            ctx.builder.source = op.layer
            cost = placement_cost(c, [(places[n], self.tensors[n].words) for n in op.reads if n in places])
            for name in op.writes:
                if name in self.residents:
                    tensor = self.tensors[name]
                    place = ctx.heap.alloc(tensor.words, align=2, cost=cost(tensor.words))
                    if place is None:
                        raise OutOfScratchpad(name)
                    tensor.resident = places[name] = place
            LOWER[type(op)](ctx, op)
            for name in op.writes:
                self.store_result(name)
            for name in {*op.reads, *op.writes}:
                if name in places and self.spans[name][1] == number:
                    ctx.heap.free(places.pop(name))
        return self

    def store_result(self, name):
        """Copies a resident tensor that is also a result of the model to its output buffer."""
        tensor = self.tensors[name]
        if tensor.resident is not None and tensor.memory is not None:
            self.ctx.builder.store(tensor.memory, tensor.resident, tensor.words)

    def _streamed(self, op):
        return self.ctx.streamed(op, self.tensors[op.x], self.tensors[op.out])

    @property
    def weight_bytes(self):
        """Bytes of linear layers' weights as they are stored, each once."""
        return sum({id(op.weight): self._streamed(op).bytes for op in self.graph.ops if isinstance(op, qgraph.Linear)}.values())

    @property
    def compulsory_bytes(self):
        """See `weft.lower.traffic.compulsory_bytes`."""
        return compulsory_bytes(self.graph, lambda op: self._streamed(op).bytes)

    @property
    def skipped(self):
        """MACs by layer that are not computed because of how weights are stored."""
        found = {}
        for op in self.graph.ops:
            if isinstance(op, qgraph.Linear):
                left = 1 - self._streamed(op).products / op.weight.size
                if round(op.origin.macs * left):
                    found[op.layer] = found.get(op.layer, 0) + round(op.origin.macs * left)
        return found

    def schedule(self):
        """The instructions in program order, END included."""
        c, memory = self.config, self.memory
        sizes = {Space.SCRATCHPAD: c.scratchpad_words, Space.ACCUMULATORS: c.accumulator_words,
                 Space.STATE: c.state_rows, Space.MEMORY: memory.buffer_bytes // c.dma_bytes + 1}
        return [*schedule(self.ctx.builder.items, sizes, c), Item("END", {}, [])]

    def host_tensors(self, first):
        """``(inputs, outputs)`` for the host; ``first``: offset of the first buffer."""
        hosts = {name: host if host.place == "constant" else replace(host, offset=host.offset + first)
                 for name, host in self.hosts.items()}
        inputs = [hosts[op.out] for op in self.graph.ops if isinstance(op, qgraph.Input)]
        return inputs, [hosts[name] for name in dict.fromkeys(o.tensor for o in self.graph.outputs)]


def _fold_constants(graph):
    """Rows chosen from constants become constants: gathered positions, selected rows."""
    values = {}
    ops = []
    for op in graph.ops:
        if isinstance(op, qgraph.Constant):
            values[op.out] = op.values
        elif isinstance(op, qgraph.Embed) and op.ids in values:
            op = qgraph.Constant(out=op.out, origin=op.origin, values=op.table[np.asarray(values[op.ids]).reshape(-1)])
            values[op.out] = op.values
        elif isinstance(op, qgraph.SelectRows) and op.x in values:
            op = qgraph.Constant(out=op.out, origin=op.origin, values=values[op.x][op.index])
            values[op.out] = op.values
        elif isinstance(op, qgraph.Concat) and all(part in values for part in op.parts):
            op = qgraph.Constant(out=op.out, origin=op.origin,
                                 values=np.concatenate([values[part] for part in op.parts])[op.index])
            values[op.out] = op.values
        elif isinstance(op, qgraph.Attention) and op.mask in values and np.all(values[op.mask]):
            op = replace(op, mask=None)
        ops.append(op)
    used = {name for op in ops for name in op.reads} | {o.tensor for o in graph.outputs}
    return replace(graph, ops=[op for op in ops if not isinstance(op, qgraph.Constant) or op.out in used])


def prepare(graph, config):
    """The graph as it is lowered: constants folded, layouts converted where attentions disagree, weights in the form in which they
    are streamed. Errors and warnings are those of `weft.lower.modes.with_streamed_forms`."""
    return with_streamed_forms(insert_conversions(_fold_constants(graph), config.panel), config)


def fit(graph, config, memory, packed, **options):
    """The `Lowering` of a prepared graph that fits, run; it adds to a copy of ``memory``, its own ``memory``.

    Raises CompileError for what no tiling makes fit, naming the layer.
    """
    def attempt(share):
        return Lowering(graph, config, packed, spilled, share, memory.copy(), **options)

    spilled = set()
    shares = [3 / 8, 1 / 4]
    while True:
        lowering = attempt(shares[0])
        if len(shares) > 1 and lowering.spills:
            shares.pop(0)               # fewer weights in flight rather than activations in memory
            lowering = attempt(shares[0])
            if lowering.spills:
                lowering = attempt(3 / 8)
                shares = [3 / 8]
        try:
            return lowering.run()
        except OutOfScratchpad as full:
            alive = lowering.alive()
            if not alive:
                raise CompileError(f"{lowering.ctx.builder.source}: {full} does not fit a scratchpad of "
                                   f"{config.scratchpad_kib} KiB, not even by single rows") from None
            spilled.add(max(alive, key=lambda name: lowering.tensors[name].words))


def lower(graph, config):
    """Lowers a `weft.qgraph.QGraph` for ``config``.

    Returns a `Lowered`. Raises CompileError for what no tiling makes fit, naming the layer.
    """
    prepared, packed = prepare(graph, config), {}

    def attempt(tuning):
        if not tuning.skip_zeros and not any(isinstance(weights, KeptTiles) for weights in packed.values()):
            return inf, 0, None         # nothing would change
        lowering = fit(prepared, config, MemoryMap(config), packed, tuning=tuning)
        scheduled = lowering.schedule()
        return predicted_cycles(config, scheduled), len(scheduled), (lowering, scheduled)

    lowering, scheduled = best(attempt)
    made = assemble(config, lowering.memory, {"": scheduled})
    probes = Probes.of_program(lowering.graph, lowering.channels, [item.result for item in scheduled])
    skipped = lowering.skipped
    macs = {layer: count - skipped.get(layer, 0) for layer, count in graph.layer_macs.items()}
    return Lowered(made.images[""], *lowering.host_tensors(made.first), lowering.compulsory_bytes, probes, macs, skipped,
                   sum(graph.removed), lowering.weight_bytes)
