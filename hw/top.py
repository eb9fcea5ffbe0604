"""The accelerator: wires the blocks."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .control.axi_lite import AXI4Lite
from .control.unit import ControlUnit, connect_memory
from .dma.axi import AXI4
from .dma.unit import DmaUnit
from .memory.accumulators import Accumulators
from .memory.scratchpad import Scratchpad
from .tensor.engine import TensorEngine
from .tensor.panel_reader import row_ports
from .vector.engine import VectorEngine

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """One accelerator of a configuration.

    Ports: ``clk``; ``rst``, synchronous, high; ``m_axi`` AXI4 master for memory (address `config.address_bits`, data
    ``8 * config.data_bytes`` bits); ``s_axi`` AXI4-Lite slave for the registers of `control.register_map`; ``irq``, level,
    high. ``rst`` takes effect one cycle later: it is registered before it fans out.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"clk": In(1), "rst": In(1), "m_axi": Out(AXI4(config)), "s_axi": In(AXI4Lite()),
                          "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # One register in front of every other: a short path at any fan-out, and logic that simulates only at the clock.
        m.domains.sync = ClockDomain()
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(self.rst)
        m.d.comb += [ClockSignal().eq(self.clk), ResetSignal().eq(reset)]

        m.submodules.control = control = ControlUnit(config)
        m.submodules.dma = dma = DmaUnit(config)
        until_start = ResetInserter(control.stop)
        m.submodules.scratchpad = scratchpad = until_start(Scratchpad(
            config, reads=[*row_ports(config), "weights", "vector_a", "vector_b", "store"], writes=["vector", "load"]))
        m.submodules.accumulators = accumulators = until_start(Accumulators(config))
        m.submodules.tensor = tensor = until_start(TensorEngine(config))
        m.submodules.vector = vector = until_start(VectorEngine(config))

        connect_memory(m, self, control, dma)
        wiring.connect(m, dma.write, scratchpad.write_load)
        wiring.connect(m, dma.read, scratchpad.read_store)

        wiring.connect(m, control.tensor, tensor.instructions)
        for name in row_ports(config):
            wiring.connect(m, getattr(tensor, f"read_{name}"), getattr(scratchpad, f"read_{name}"))
        wiring.connect(m, tensor.read_weights, scratchpad.read_weights)
        wiring.connect(m, tensor.results, accumulators.results)
        wiring.connect(m, tensor.rescale, vector.rescale)
        wiring.connect(m, tensor.w_wait, control.wait_weights)
        wiring.connect(m, tensor.a_wait, control.wait_rows)
        wiring.connect(m, tensor.acc_wait, control.wait_accumulators)
        wiring.connect(m, tensor.w_signal, control.signal_weights)
        wiring.connect(m, tensor.a_signal, control.signal_rows)
        wiring.connect(m, accumulators.acc_signal, control.signal_accumulators)
        wiring.connect(m, tensor.weights_status, control.status_weights)
        wiring.connect(m, tensor.tensor_status, control.status_tensor)

        wiring.connect(m, control.vector, vector.instructions)
        wiring.connect(m, vector.read_a, scratchpad.read_vector_a)
        wiring.connect(m, vector.read_b, scratchpad.read_vector_b)
        wiring.connect(m, vector.write, scratchpad.write_vector)
        wiring.connect(m, vector.accumulators, accumulators.vector)
        wiring.connect(m, vector.src_wait, control.wait_source)
        wiring.connect(m, vector.dst_wait, control.wait_destination)
        wiring.connect(m, vector.src_signal, control.signal_source)
        wiring.connect(m, vector.dst_signal, control.signal_destination)
        wiring.connect(m, vector.status, control.status_vector)
        return m
