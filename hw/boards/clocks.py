"""Clocks from a board's oscillator: the PLLs of ECP5 and of Xilinx's 7 series."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Signal

from ..errors import ConfigError

__all__ = ["Pll", "find_pll", "add_pll"]


@dataclass(frozen=True)
class _Limits:
    """Of a PLL, frequencies in Hz: its oscillator, what its phase detector takes, and the largest dividers of input, feedback
    and output."""
    vco: tuple
    detector: tuple
    input_divider: int
    multiplier: int
    output_divider: int


#: Lattice FPGA-TN-02200 (feedback from the output); Xilinx UG472 and DS181, speed grade 1 (feedback from the oscillator).
_LIMITS = {"ecp5": _Limits((400e6, 800e6), (10e6, 400e6), 128, 80, 128),
           "vivado": _Limits((800e6, 1600e6), (19e6, 450e6), 56, 64, 128)}


@dataclass(frozen=True)
class Pll:
    """Dividers of input and output, multiplier (ECP5: of the output; 7 series: of the oscillator), and the clock in Hz that
    comes of them."""
    input_divider: int
    multiplier: int
    output_divider: int
    clock_hz: float


def find_pll(tools, oscillator_hz, wanted_hz):
    """The setting of the PLL whose clock is nearest to ``wanted_hz``; raises ConfigError beyond 1 % and for FPGAs whose PLL is not
    known here."""
    if tools not in _LIMITS:
        raise ConfigError(f"the clock of this board is its oscillator's, {oscillator_hz / 1e6:g} MHz, not {wanted_hz / 1e6:g}")
    limits, found = _LIMITS[tools], []
    for divider in range(1, limits.input_divider + 1):
        detector = oscillator_hz / divider
        if not limits.detector[0] <= detector <= limits.detector[1]:
            continue
        for multiplier in range(1, limits.multiplier + 1):
            if tools == "ecp5":
                clock = detector * multiplier
                # The oscillator's middle is where it is steadiest.
                output = max(1, min(limits.output_divider, round(600e6 / clock)))
                vco = clock * output
            else:
                vco = detector * multiplier
                output = max(1, min(limits.output_divider, round(vco / wanted_hz)))
                clock = vco / output
            if limits.vco[0] <= vco <= limits.vco[1]:
                found.append((abs(clock - wanted_hz), divider, multiplier, Pll(divider, multiplier, output, clock)))
    best = min(found, key=lambda entry: entry[:3])[-1] if found else None
    if best is None or abs(best.clock_hz - wanted_hz) > wanted_hz / 100:
        near = f"; the nearest is {best.clock_hz / 1e6:g}" if best else ""
        raise ConfigError(f"no clock of {wanted_hz / 1e6:g} MHz can be made of {oscillator_hz / 1e6:g} MHz on this board{near}")
    return best


def add_pll(m, tools, pll, oscillator, oscillator_hz):
    """Adds a PLL to a module; returns ``(clock, locked)``. ``oscillator``: signal of ``oscillator_hz``."""
    clock, locked = Signal(), Signal()
    if tools == "ecp5":
        m.submodules.pll = Instance(
            "EHXPLLL", a_FREQUENCY_PIN_CLKI=f"{oscillator_hz / 1e6:g}", a_FREQUENCY_PIN_CLKOP=f"{pll.clock_hz / 1e6:g}",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            p_CLKI_DIV=pll.input_divider, p_CLKFB_DIV=pll.multiplier, p_CLKOP_DIV=pll.output_divider,
            p_FEEDBK_PATH="CLKOP", p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=pll.output_divider - 1, p_CLKOP_FPHASE=0,
            p_OUTDIVIDER_MUXA="DIVA", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            i_CLKI=oscillator, i_CLKFB=clock, i_RST=Const(0), i_STDBY=Const(0), i_PHASESEL0=Const(0), i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1), i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1), i_PLLWAKESYNC=Const(0), i_ENCLKOP=Const(0),
            o_CLKOP=clock, o_LOCK=locked)
    else:
        made, feedback = Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE", p_CLKIN1_PERIOD=1e9 / oscillator_hz, p_DIVCLK_DIVIDE=pll.input_divider,
            p_CLKFBOUT_MULT=pll.multiplier, p_CLKOUT0_DIVIDE=pll.output_divider,
            i_CLKIN1=oscillator, i_CLKFBIN=feedback, i_RST=Const(0), i_PWRDWN=Const(0),
            o_CLKFBOUT=feedback, o_CLKOUT0=made, o_LOCKED=locked)
        m.submodules.buffer = Instance("BUFG", i_I=made, o_O=clock)
    return clock, locked
