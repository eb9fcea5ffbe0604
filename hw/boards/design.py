"""A board's design: what its pins, clock and memory make of the core."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from ..config import Config
from ..errors import ConfigError
from .catalog import KnownBoard, find_board, load_platform
from .clocks import Pll, add_pll, find_pll
from .core import TOP, core_verilog
from .fit import memory_bytes_for
from .protocol import BAUD
from .uart import MIN_DIVISOR

__all__ = ["BoardDesign", "design_board", "design_files"]

#: Clock where none is asked for, in MHz.
CLOCK_MHZ = 25.0
#: Farthest the line's speed may be from what was asked for: half a bit in ten, less what the far end needs.
_BAUD_ERROR = 0.02


@dataclass(frozen=True)
class BoardDesign:
    """A board with a configuration: ``memory_bytes`` for programs, ``pll`` (None: the oscillator's clock as it is),
    ``clock_hz``, and ``divisor``, clock cycles a bit of the serial line."""
    board: KnownBoard
    config: Config
    memory_bytes: int
    pll: Pll | None
    clock_hz: int
    divisor: int

    @property
    def baud(self):
        """The serial line's speed as it comes out."""
        return self.clock_hz / self.divisor


def design_board(board, config, memory_kib=None, clock_mhz=None, baud=BAUD):
    """The `BoardDesign` of a board (its name) and a configuration.

    Raises ConfigError for an unknown board, an accelerator that does not fit, a clock that cannot be made and a serial line that
    cannot be as fast.
    """
    board, config = find_board(board), Config.load(config)
    memory_bytes = memory_bytes_for(board, config, memory_kib)
    wanted = (CLOCK_MHZ if clock_mhz is None else clock_mhz) * 1e6
    if not 1e6 <= wanted <= 1e9:
        raise ConfigError(f"the clock must be from 1 to 1000 MHz, not {clock_mhz:g}")
    pll = None if wanted == board.oscillator_hz else find_pll(board.tools, board.oscillator_hz, wanted)
    clock_hz = board.oscillator_hz if pll is None else round(pll.clock_hz)
    if not 300 <= baud <= clock_hz / MIN_DIVISOR:
        raise ConfigError(f"the serial line can have from 300 to {clock_hz // MIN_DIVISOR} baud at {clock_hz / 1e6:g} MHz, not "
                          f"{baud}")
    divisor = round(clock_hz / baud)
    if abs(clock_hz / divisor / baud - 1) > _BAUD_ERROR:
        raise ConfigError(f"{baud} baud cannot be made of {clock_hz / 1e6:g} MHz: the nearest is {clock_hz / divisor:.0f}")
    return BoardDesign(board, config, memory_bytes, pll, clock_hz, divisor)


class _Top(Elaboratable):
    """Pins and clock around the core, which is Verilog of its own."""

    def __init__(self, design):
        self.design = design

    def elaborate(self, platform):
        m = Module()
        design = self.design
        oscillator = platform.request(platform.default_clk, dir="-")
        line = platform.request("uart", 0, dir="-")
        m.submodules.clock_pin = clock_pin = io.Buffer("i", oscillator)
        m.submodules.rx_pin = rx_pin = io.Buffer("i", line.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", line.tx)
        clock, locked = clock_pin.i, Const(1)
        if design.pll is not None:
            clock, locked = add_pll(m, design.board.tools, design.pll, clock, design.board.oscillator_hz)
        m.domains.sync = ClockDomain(reset_less=True)
        reset = Signal(init=1)
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset_synchronizer = FFSynchronizer(~locked, reset, init=1)
        m.submodules.core = Instance(TOP, i_clk=clock, i_rst=reset, i_rx=rx_pin.i, o_tx=tx_pin.o, o_irq=Signal())
        return m


def design_files(design, name="top", **overrides):
    """``{file name: text or bytes}`` for the board's tools: Verilog of the core, the top with pins and clock, constraints and
    scripts, as Amaranth's platforms write them; ``overrides``: of the platform's templates."""
    platform = load_platform(design.board)
    platform.add_file(f"{TOP}.v", core_verilog(design.config, design.memory_bytes, design.divisor, design.clock_hz))
    return dict(platform.prepare(_Top(design), name, **overrides).files)
