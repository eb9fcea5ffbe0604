"""What every board runs: accelerator, memory and host link, with nothing of a board in it."""

from functools import cache

from amaranth.hdl import ClockDomain, DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..memory import wrapper
from ..top import Accelerator
from ..verilog import convert
from .link import HostLink
from .memory import BlockMemory

__all__ = ["TOP", "BoardCore", "core_verilog"]

#: Name of the module in Verilog.
TOP = "weft_board"


class BoardCore(wiring.Component):
    """An accelerator that a host uses over a serial line.

    Parameters: ``config``; ``memory_bytes`` on the chip, a multiple of 4096; ``divisor``, clock cycles a bit of the line;
    ``clock_hz``, which the host is told. Ports: ``clk``, ``rst`` (as the accelerator's), ``rx``, ``tx``, and ``irq``, the
    accelerator's.
    """

    def __init__(self, config, memory_bytes, divisor, clock_hz):
        self.config, self.memory_bytes, self.divisor, self.clock_hz = config, memory_bytes, divisor, clock_hz
        super().__init__({"clk": In(1), "rst": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        # A domain of its own, since the accelerator brings one; the same clock, and the same registered reset.
        m.domains.board = domain = ClockDomain()
        domain.clk = self.clk
        reset = Signal(init=1, reset_less=True)
        m.d.board += reset.eq(self.rst)
        m.d.comb += domain.rst.eq(reset)
        in_domain = DomainRenamer("board")
        m.submodules.accelerator = accelerator = Accelerator(self.config)
        m.submodules.memory = memory = in_domain(BlockMemory(self.config, self.memory_bytes))
        m.submodules.link = link = in_domain(HostLink(self.memory_bytes, self.divisor, self.clock_hz))
        wiring.connect(m, accelerator.m_axi, memory.axi)
        wiring.connect(m, link.memory, memory.host)
        wiring.connect(m, link.registers, accelerator.s_axi)
        m.d.comb += [accelerator.clk.eq(self.clk), accelerator.rst.eq(self.rst), link.rx.eq(self.rx), self.tx.eq(link.tx),
                     self.irq.eq(accelerator.irq)]
        return m


@cache
def core_verilog(config, memory_bytes, divisor, clock_hz):
    """Verilog of a `BoardCore` with all its modules, by its arguments; kept for the process."""
    return f"{convert(BoardCore(config, memory_bytes, divisor, clock_hz), TOP)}\n{wrapper.VERILOG}"
