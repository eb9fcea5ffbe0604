"""The golden model: executes a program's binary instructions on NumPy arrays and checks them."""

from dataclasses import dataclass

import numpy as np

from weft.hw.errors import InputError

from . import moves, products, vectors
from .events import Recorder
from .state import RunState, granule_view
from .threads import Threads
from .trace import decode_image, trace

__all__ = ["GoldenMachine", "GoldenResult", "StoreLog"]

#: Instructions that compute or fetch elements of tensors.
_OBSERVED = {"REQUANT", "NORM", "GATHER"}


@dataclass(frozen=True)
class StoreLog:
    """What the store engine wrote, in order, in pieces of ``data.shape[-1]`` bytes.

    ``pcs``: int32[n], number of the STORE; ``addresses``: int64[n], first byte; ``data``: uint8[n, bytes] or
    uint8[batch, n, bytes].
    """
    pcs: np.ndarray
    addresses: np.ndarray
    data: np.ndarray

    def item(self, number):
        """The log of one run of a batch."""
        return StoreLog(self.pcs, self.addresses, self.data[number])


@dataclass(frozen=True)
class GoldenResult:
    """Result of `GoldenMachine.run`; arrays have a leading batch axis if the inputs had one.

    ``outputs``: uint8[bytes] by output buffer; ``buffers``: the same of every buffer but constants; ``store_log``;
    ``macs``: products that the array computed (whole tiles); ``gated_macs``: those of them whose weight or activation is zero,
    int64[batch], if they were counted; ``pcs``: numbers of the instructions executed, in order.
    """
    outputs: dict
    buffers: dict
    store_log: StoreLog
    macs: int
    pcs: np.ndarray
    gated_macs: np.ndarray | None = None


@dataclass
class _Plan:
    """Kernels of one order of execution, each with the group it computes."""
    kernels: list
    pcs: np.ndarray
    macs: int


class GoldenMachine:
    """Executes an image, exactly as ``hw/README.md`` and ``sim/README.md`` define it.

    Every check of the program (order of accesses, addresses, unwritten data, tokens) is made once for each setting of the
    scalar registers; what depends on data (overflow, gathered rows) at each run.
    """

    def __init__(self, image):
        self.image = image
        self._program = decode_image(image)
        self._constant = granule_view(np.ascontiguousarray(image.constant), image.config.dma_bytes)
        self._words = self._constant.reshape(-1, image.config.word_bytes)
        self._weights = products.ConstantWeights(image.config, self._words)
        self._plans = {}
        self._regions = None

    def check(self, registers=None):
        """Checks the program without running it; raises ProgramError naming instruction and address."""
        self._plan(registers)

    def run(self, inputs, registers=None, observe=None, count=False):
        """Runs the program.

        ``inputs``: for each input buffer uint8[bytes], or uint8[batch, bytes] to run many at once (all of them, or some;
        the others are shared); likewise for state buffers, which are zero otherwise. ``registers``: scalar registers
        ``{number: value}``, instead of the image's.
        ``observe(operation, first tile, values)``: called with what each part of a REQUANT or NORM has computed, int64[batch,
        rows, channels] of its tiles, and with what a GATHER has fetched, uint8[batch, rows, bytes]. ``count``: counts gated
        multiplications, which takes about as long as computing them.

        Raises InputError for inputs that do not fit and ProgramError for what the program does wrong.
        """
        inputs, batch = self._check_inputs(inputs)
        plan = self._plan(registers)
        state = RunState(self.image.config, self._regions, self._constant, batch or 1)
        flat = state.memory.reshape(state.batch, -1)
        origin = self._regions.first_granule * self._regions.unit
        for buffer in self.image.buffers:
            if buffer.name in inputs:
                flat[:, buffer.offset - origin:buffer.offset - origin + buffer.bytes] = inputs[buffer.name]
        gated = plan.macs if count else None
        for kernel, group in plan.kernels:
            if count and isinstance(kernel, products.Product):
                gated = gated - kernel.nonzero(state)
            kernel.run(state)
            if observe is not None and group.operation.mnemonic in _OBSERVED:
                observe(group.operation, group.start, kernel.result(state))
        item = slice(None) if batch is not None else 0
        buffers = {b.name: flat[item, b.offset - origin:b.offset - origin + b.bytes]
                   for b in self.image.buffers if b.kind != "constant"}
        outputs = {b.name: buffers[b.name].copy() for b in self.image.buffers if b.kind == "output"}
        return GoldenResult(outputs, buffers, self._log(state, item), plan.macs, plan.pcs,
                            gated if gated is None else np.broadcast_to(gated, state.batch)[item])

    def _check_inputs(self, inputs):
        sizes = {b.name: b.bytes for b in self.image.buffers if b.kind in ("input", "state")}
        inside = {b.name for b in self.image.buffers if b.kind == "input"}
        wanted = {name: size for name, size in sizes.items() if name in inside or name in inputs}
        for name in inputs:
            if name not in sizes:
                raise InputError(f"the program has no input {name!r}; it has {', '.join(sizes) or 'none'}")
        arrays, batch = {}, None
        for name, size in wanted.items():
            if name not in inputs:
                raise InputError(f"input {name!r} is missing")
            array = np.asarray(inputs[name])
            if array.dtype != np.uint8 or array.ndim not in (1, 2) or array.shape[-1] != size:
                raise InputError(f"input {name!r} must be uint8[{size}] (or a batch of such), not "
                                 f"{array.dtype}{list(array.shape)}")
            if array.ndim == 2:
                if batch not in (None, len(array)):
                    raise InputError(f"input {name!r} is a batch of {len(array)}, another one is of {batch}")
                batch = len(array)
            arrays[name] = array
        return arrays, batch

    def _log(self, state, item):
        unit = self._regions.unit
        pcs = [np.full(granules.size, pc, np.int32) for pc, granules, _ in state.stores]
        if not pcs:
            return StoreLog(np.empty(0, np.int32), np.empty(0, np.int64),
                            np.empty((state.batch, 0, unit), np.uint8)[item])
        return StoreLog(np.concatenate(pcs), np.concatenate([g for _, g, _ in state.stores]) * unit,
                        np.concatenate([d for _, _, d in state.stores], axis=1)[item])

    def _plan(self, registers):
        registers = dict(self.image.registers if registers is None else registers)
        key = tuple(sorted((int(n), int(v)) for n, v in registers.items()))
        if key not in self._plans:
            if len(self._plans) >= 4:                   # a decoding loop makes one for each position
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = self._make_plan(registers)
        return self._plans[key]

    def _make_plan(self, registers):
        config = self.image.config
        operations = trace(self._program, registers)
        recorder = Recorder(config, self.image, self._words)
        Threads(config, operations, recorder).run()
        self._regions = recorder.regions
        kernels, macs = [], 0
        for group in recorder.groups:
            kernel = self._kernel(recorder, group)
            if kernel is not None:
                kernels.append((kernel, group))
            if isinstance(kernel, products.Product):
                macs += kernel.macs
        return _Plan(kernels, np.array([o.pc for o in operations], np.int32), macs)

    def _kernel(self, recorder, group):
        config, operation = self.image.config, group.operation
        mnemonic = operation.mnemonic
        parameters = recorder.parameters.get(operation.number)
        if group.kind == "stage":
            return (products.StageTiles if mnemonic == "MATMUL" else products.StageKeys)(config, group)
        match mnemonic:
            case "LOAD":
                return moves.Load(config, group) if recorder.live[group.position] else None
            case "STORE":
                return moves.Store(config, group)
            case "INDEX":
                return moves.Index(config, group)
            case "GATHER":
                return moves.Gather(config, group, recorder.regions)
            case "STATS":
                return vectors.Stats(config, group)
            case "REQUANT" | "NORM" | "SOFTMAX" | "TABLE":
                return getattr(vectors, mnemonic.title())(config, group, parameters, self._words)
            case _:
                return products.Product(config, group, recorder.stationary[operation.number], self._weights)
