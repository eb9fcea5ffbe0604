"""Clocks from a board's oscillator: the PLLs of ECP5 and of Xilinx's 7 series."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Signal

from ..errors import ConfigError

__all__ = ["Pll", "find_pll", "add_pll"]


@dataclass(frozen=True)
class _Limits:
    """Of a PLL, frequencies in Hz: its oscillator, what its phase detector takes, and the largest input divider, multiplier and
    output divider."""
    vco: tuple
    detector: tuple
    input_divider: int
    multiplier: int
    output_divider: int


#: Lattice FPGA-DS-02012 and FPGA-TN-02200; Xilinx DS181 (speed grade 1) and UG472.
_LIMITS = {"ecp5": _Limits((400e6, 800e6), (10e6, 400e6), 128, 80, 128),
           "vivado": _Limits((800e6, 1600e6), (19e6, 450e6), 56, 64, 128)}


@dataclass(frozen=True)
class Pll:
    """A setting: the PLL's oscillator runs at ``multiplier / input_divider`` times the input, the clock at that divided by
    ``output_divider``: ``clock_hz``."""
    input_divider: int
    multiplier: int
    output_divider: int
    clock_hz: float


def find_pll(tools, oscillator_hz, wanted_hz):
    """The setting of the PLL whose clock is nearest to ``wanted_hz``, of equals the one with the fastest phase detector.

    Raises ConfigError where none comes within 1 %.
    """
    limits, best = _LIMITS[tools], None
    for divider in range(1, limits.input_divider + 1):
        detector = oscillator_hz / divider
        for multiplier in range(1, limits.multiplier + 1):
            vco = detector * multiplier
            if not (limits.detector[0] <= detector <= limits.detector[1] and limits.vco[0] <= vco <= limits.vco[1]):
                continue
            output = max(1, min(limits.output_divider, round(vco / wanted_hz)))
            pll = Pll(divider, multiplier, output, vco / output)
            if best is None or abs(pll.clock_hz - wanted_hz) < abs(best.clock_hz - wanted_hz):
                best = pll
    if abs(best.clock_hz - wanted_hz) > wanted_hz / 100:
        raise ConfigError(f"no clock of {wanted_hz / 1e6:g} MHz can be made of {oscillator_hz / 1e6:g} MHz on this board; the "
                          f"nearest is {best.clock_hz / 1e6:g}")
    return best


def add_pll(m, tools, pll, oscillator, oscillator_hz):
    """Adds a PLL to a module; returns ``(clock, locked)``. ``oscillator``: signal of ``oscillator_hz``."""
    clock, locked = Signal(), Signal()
    if tools == "ecp5":
        feedback = Signal()
        # The second output divides the oscillator by the multiplier, and is what the phase detector compares.
        m.submodules.pll = Instance(
            "EHXPLLL", a_FREQUENCY_PIN_CLKI=f"{oscillator_hz / 1e6:g}", a_FREQUENCY_PIN_CLKOP=f"{pll.clock_hz / 1e6:g}",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            p_CLKI_DIV=pll.input_divider, p_CLKFB_DIV=1, p_FEEDBK_PATH="CLKOS",
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=pll.output_divider, p_CLKOP_CPHASE=pll.output_divider - 1, p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=pll.multiplier, p_CLKOS_CPHASE=pll.multiplier - 1, p_CLKOS_FPHASE=0,
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            i_CLKI=oscillator, i_CLKFB=feedback, i_RST=Const(0), i_STDBY=Const(0), i_PHASESEL0=Const(0), i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1), i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1), i_PLLWAKESYNC=Const(0), i_ENCLKOP=Const(0),
            i_ENCLKOS=Const(0), o_CLKOP=clock, o_CLKOS=feedback, o_LOCK=locked)
    else:
        made, feedback = Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE", p_CLKIN1_PERIOD=1e9 / oscillator_hz, p_DIVCLK_DIVIDE=pll.input_divider,
            p_CLKFBOUT_MULT=pll.multiplier, p_CLKOUT0_DIVIDE=pll.output_divider,
            i_CLKIN1=oscillator, i_CLKFBIN=feedback, i_RST=Const(0), i_PWRDWN=Const(0),
            o_CLKFBOUT=feedback, o_CLKOUT0=made, o_LOCKED=locked)
        m.submodules.buffer = Instance("BUFG", i_I=made, o_O=clock)
    return clock, locked
