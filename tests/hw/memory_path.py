"""Control unit, DMA unit and scratchpad without the engines that compute: what the tests of control and dma run on."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw.control.axi_lite import AXI4Lite
from weft.hw.control.unit import ControlUnit, connect_memory
from weft.hw.dma.axi import AXI4
from weft.hw.dma.unit import DmaUnit
from weft.hw.memory.scratchpad import Scratchpad
from weft.sim.cocotb.wait_monitor import watch_waits


class MemoryPath(wiring.Component):
    """The ports of the accelerator, and ``broken``: which of the waits of loads and stores were not as `TokenWait` has them.
    Tensor and vector instructions are never taken."""

    def __init__(self, config):
        self.config = config
        super().__init__({"m_axi": Out(AXI4(config)), "s_axi": In(AXI4Lite()), "irq": Out(1), "broken": Out(2)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = ControlUnit(self.config)
        m.submodules.dma = dma = DmaUnit(self.config)
        m.submodules.scratchpad = scratchpad = Scratchpad(self.config, reads=["store"], writes=["load"])
        connect_memory(m, self, control, dma)
        wiring.connect(m, dma.write, scratchpad.write_load)
        wiring.connect(m, dma.read, scratchpad.read_store)
        for thread in ("weights", "tensor", "vector"):
            m.d.comb += getattr(control, f"status_{thread}").idle.eq(1)
        m.d.comb += self.broken.eq(watch_waits(m, [dma.load_wait, dma.store_wait]))
        return m
