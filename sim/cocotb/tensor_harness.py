"""The tensor engine with its memories, for the bench that drives it by instructions."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw import isa
from weft.hw.interfaces import AccumulatorRead, InstructionStream, ScratchpadRead, ScratchpadWrite, ThreadStatus
from weft.hw.memory.accumulators import Accumulators
from weft.hw.memory.scratchpad import Scratchpad
from weft.hw.memory.wrapper import OnChipMemory
from weft.hw.tensor.engine import TensorEngine
from weft.hw.tensor.panel_reader import row_ports
from weft.sim.cocotb.plain_counters import PlainCounters

__all__ = ["TensorHarness"]


class TensorHarness(wiring.Component):
    """Engine, scratchpad, accumulators, a memory of rescale distances and plain token counters.

    ``stall`` reads the scratchpad before the weight loader (the moving rows are never refused) and ``vector`` the
    accumulators after the array. ``give`` adds a token, ``counts`` shows all counters, ``broken`` which waits were not as
    `TokenWait` has them, ``row_count`` counts rows that left for the accumulators.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()),
            "write": In(ScratchpadWrite(config)), "stall": In(ScratchpadRead(config)),
            "vector": In(AccumulatorRead(config)),
            "distance_write": In(1), "distance_row": In((config.state_rows - 1).bit_length()), "distance": In(6),
            "give": In(1), "give_id": In(5), "counts": Out(8 * isa.SEMAPHORES), "broken": Out(3),
            "row_count": Out(32),
            "weights_status": Out(ThreadStatus()), "tensor_status": Out(ThreadStatus()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.engine = engine = TensorEngine(config)
        m.submodules.scratchpad = scratchpad = Scratchpad(config, ["rows", "stall", *row_ports(config)[1:], "weights"], ["load"])
        m.submodules.accumulators = accumulators = Accumulators(config)
        m.submodules.distances = distances = OnChipMemory(6, config.state_rows)
        for inner, outer in ((scratchpad.read_stall, self.stall), (scratchpad.write_load, self.write),
                             (accumulators.vector, self.vector), (engine.instructions, self.instructions)):
            wiring.connect(m, wiring.flipped(outer), inner)
        wiring.connect(m, engine.weights_status, wiring.flipped(self.weights_status))
        wiring.connect(m, engine.tensor_status, wiring.flipped(self.tensor_status))
        for name in row_ports(config):
            wiring.connect(m, getattr(engine, f"read_{name}"), getattr(scratchpad, f"read_{name}"))
        wiring.connect(m, engine.read_weights, scratchpad.read_weights)
        wiring.connect(m, engine.results, accumulators.results)
        m.d.comb += [
            distances.write_enable.eq(self.distance_write), distances.write_address.eq(self.distance_row),
            distances.write_data.eq(self.distance), distances.write_mask.eq(1),
            distances.read_enable.eq(1), distances.read_address.eq(engine.rescale.row),
            engine.rescale.distance.eq(distances.read_data),
        ]
        with m.If(engine.results.valid):
            m.d.sync += self.row_count.eq(self.row_count + 1)

        m.submodules.counters = counters = PlainCounters(waits=["w", "a", "acc"], signals=["w", "a", "acc"])
        for name, signal in ("w", engine.w_signal), ("a", engine.a_signal), ("acc", accumulators.acc_signal):
            wiring.connect(m, signal, getattr(counters, f"signal_{name}"))
            wiring.connect(m, getattr(engine, f"{name}_wait"), getattr(counters, f"wait_{name}"))
        m.d.comb += [counters.give.eq(self.give), counters.give_id.eq(self.give_id), self.counts.eq(counters.counts),
                     self.broken.eq(counters.broken)]
        return m
