"""The vector engine with token counters, and its parts alone, for the benches that drive them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw import isa
from weft.hw.interfaces import (AccumulatorRead, InstructionStream, RescaleRead, ScratchpadRead, ScratchpadWrite,
                                ThreadStatus, TokenSignal)
from weft.hw.vector.engine import VectorEngine
from weft.hw.vector.exponential import ExponentialLane
from weft.hw.vector.reduce import tree_latency
from weft.hw.vector.requantize import Requantizer
from weft.hw.vector.row_unit import RowUnit
from weft.hw.vector.softmax import Softmax
from weft.hw.vector.statistics import RowSums
from weft.sim.cocotb.plain_counters import PlainCounters

__all__ = ["VectorHarness", "VectorPartsHarness"]


class VectorHarness(wiring.Component):
    """The engine's ports, but its waits, which are served by counters: ``give`` adds a token, ``counts`` shows all, and
    ``broken`` which waits were not as `TokenWait` has them."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "instructions": In(InstructionStream()), "accumulators": Out(AccumulatorRead(config)),
            "read_a": Out(ScratchpadRead(config)), "read_b": Out(ScratchpadRead(config)),
            "write": Out(ScratchpadWrite(config)), "rescale": In(RescaleRead(config)), "status": Out(ThreadStatus()),
            "src_signal": Out(TokenSignal()), "dst_signal": Out(TokenSignal()),
            "give": In(1), "give_id": In(5), "counts": Out(8 * isa.SEMAPHORES), "broken": Out(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = VectorEngine(self.config)
        m.submodules.counters = counters = PlainCounters(waits=["src", "dst"], signals=["src", "dst"])
        for name in "instructions", "accumulators", "read_a", "read_b", "write", "rescale", "status":
            wiring.connect(m, getattr(engine, name), wiring.flipped(getattr(self, name)))
        for name in "src", "dst":
            wait, signal = getattr(engine, f"{name}_wait"), getattr(engine, f"{name}_signal")
            counted, shown = getattr(counters, f"signal_{name}"), getattr(self, f"{name}_signal")
            wiring.connect(m, wait, getattr(counters, f"wait_{name}"))
            m.d.comb += [port.eq(value) for to in (counted, shown)
                         for port, value in ((to.id, signal.id), (to.valid, signal.valid))]
        m.d.comb += [counters.give.eq(self.give), counters.give_id.eq(self.give_id), self.counts.eq(counters.counts),
                     self.broken.eq(counters.broken)]
        return m


class VectorPartsHarness(wiring.Component):
    """Parts of the engine side by side, so that one build serves them, each with all its ports: ``exponential_*``,
    ``requantizer_*``, ``softmax_*``, ``row_sums_*``, ``row_unit_*``.

    The bench adds the lanes' values itself, in the place of the engine's tree, and with its latency.
    """

    def __init__(self, config):
        lanes = config.vector_lanes
        latency = tree_latency(lanes)
        self.parts = {
            "exponential": ExponentialLane(), "requantizer": Requantizer(config),
            "softmax": Softmax(config, latency), "row_sums": RowSums(lanes, latency),
            "row_unit": RowUnit(config.state_rows, config.division_units),
        }
        super().__init__({name: Out(part.signature) for name, part in self.parts.items()})

    def elaborate(self, platform):
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            wiring.connect(m, part, wiring.flipped(getattr(self, name)))
        return m
