"""The tensor engine: matrix products from the scratchpad to the accumulators."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..control.instruction_queue import InstructionQueue, read_bits
from ..interfaces import InstructionStream, RescaleRead, ScratchpadRead, ThreadStatus, TokenSignal, TokenWait
from ..memory.accumulators import Accumulators, ResultPort
from .array import SystolicArray
from .issuer import destination_layout
from .loader import WeightLoader
from .panel_reader import row_ports
from .skew import Delay
from .streamer import RowStreamer

__all__ = ["TensorEngine"]

#: Fields of tensor instructions by the thread that reads them, besides ``w_*`` (loader), ``a_*`` and ``acc_*`` (streamer).
_BOTH_READ = {"k_tiles", "n_tiles", "k_offset", "k_outer", "wait"}
_LOADER_READS = _BOTH_READ | {"chunk_tiles", "ring_slots", "ring_start", "s_base", "block"}
_STREAMER_READS = _BOTH_READ | {"rows", "accumulate", "rescale", "state_base", "wait_count", "signal", "signal_count", "w_format",
                                "k_missing"}


def _loader_reads(field):
    return field in _LOADER_READS or field.startswith("w_")


def _streamer_reads(field):
    return field in _STREAMER_READS or field.startswith(("a_", "acc_"))


_FIELDS = {field.name for instruction in isa.BY_OPCODE.values() if instruction.engine == isa.Engine.TENSOR
           for field in instruction.field_list}
assert _LOADER_READS | _STREAMER_READS <= _FIELDS
assert all(_loader_reads(name) or _streamer_reads(name) for name in _FIELDS)


class TensorEngine(wiring.Component):
    """Executes TENSOR_SYNC, MATMUL, MATMUL_KT, MATMUL_V and MATMUL_C: weight loader, row streamer and array.

    Both threads get every instruction, each through a queue of its own, so the loader is already at work on the next
    instruction's tiles while the streamer finishes the last. Without stalls a tile of M rows takes ``max(M, steps)``
    cycles, across tiles and instructions; steps are ``ceil(rows / 2)`` for MATMUL (of sparse weights one more for each line of
    indices), ``cols`` for MATMUL_KT and MATMUL_C, ``rows`` for MATMUL_V. (Two and three rows that add to the same words again
    wait until those are written.)

    Parameters
    ----------
    config : Config

    Members
    -------
    instructions : In(InstructionStream())
    read_rows, read_weights : Out(ScratchpadRead(config))
        Moving and stationary operands. ``read_rows`` must never be refused: passes of two or three rows over the same
        accumulators rely on a pass without gaps (`Accumulators`); passes over sparse tiles do not.
    read_more_rows : Out(ScratchpadRead(config))
        With `sparsity` "1:4".
    results : Out(ResultPort(config))
    rescale : Out(RescaleRead(config))
    w_wait, a_wait, acc_wait : Out(TokenWait())
    w_signal, a_signal : Out(TokenSignal())
        ``acc_signal`` comes from the accumulators.
    weights_status, tensor_status : Out(ThreadStatus())
        Of the loader and the streamer.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()),
            **{f"read_{name}": Out(ScratchpadRead(config)) for name in row_ports(config)},
            "read_weights": Out(ScratchpadRead(config)),
            "results": Out(ResultPort(config)), "rescale": Out(RescaleRead(config)),
            "w_wait": Out(TokenWait()), "a_wait": Out(TokenWait()), "acc_wait": Out(TokenWait()),
            "w_signal": Out(TokenSignal()), "a_signal": Out(TokenSignal()),
            "weights_status": Out(ThreadStatus()), "tensor_status": Out(ThreadStatus()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.array = array = SystolicArray(config.rows, config.cols, config.activation_lanes)
        m.submodules.loader = loader = WeightLoader(config)
        # Where sums go is known ahead of them.
        ahead = array.latency - Accumulators.SUMS_AFTER
        m.submodules.streamer = streamer = RowStreamer(config, ahead)
        m.submodules.destinations = destinations = Delay(destination_layout(config), ahead)

        m.submodules.loader_queue = loader_queue = InstructionQueue(read_bits(config, isa.Engine.TENSOR, _loader_reads), 2)
        m.submodules.streamer_queue = streamer_queue = InstructionQueue(read_bits(config, isa.Engine.TENSOR, _streamer_reads), 2)
        m.d.comb += [
            self.instructions.ready.eq(loader_queue.i.ready & streamer_queue.i.ready),
            loader_queue.i.payload.eq(self.instructions.payload),
            loader_queue.i.valid.eq(self.instructions.valid & streamer_queue.i.ready),
            streamer_queue.i.payload.eq(self.instructions.payload),
            streamer_queue.i.valid.eq(self.instructions.valid & loader_queue.i.ready),
        ]
        wiring.connect(m, loader_queue.o, loader.instructions)
        wiring.connect(m, streamer_queue.o, streamer.instructions)

        wiring.connect(m, loader.load, array.load)
        m.d.comb += [
            streamer.full.eq(loader.full), loader.swap.eq(streamer.take),
            streamer.at_sync.eq(loader.at_sync), loader.synced.eq(streamer.synced),
            array.swap.eq(streamer.swap), array.operands.eq(streamer.operands),
            destinations.i_valid.eq(streamer.valid), destinations.i.eq(streamer.destination),
            self.results.valid.eq(destinations.o_valid), self.results.sums.eq(array.sums),
        ]
        m.d.comb += [getattr(self.results, name).eq(getattr(destinations.o, name))
                     for name in destination_layout(config).members]

        row_reads = ([(getattr(streamer, f"read_{name}"), getattr(self, f"read_{name}")) for name in row_ports(config)]
                     if config.sparsity else [(streamer.read, self.read_rows)])
        for inner, outer in ((loader.read, self.read_weights), *row_reads,
                             (streamer.rescale, self.rescale), (loader.w_wait, self.w_wait),
                             (streamer.a_wait, self.a_wait), (streamer.acc_wait, self.acc_wait),
                             (loader.w_signal, self.w_signal), (streamer.a_signal, self.a_signal),
                             (loader.status, self.weights_status), (streamer.status, self.tensor_status)):
            wiring.connect(m, inner, wiring.flipped(outer))
        return m
