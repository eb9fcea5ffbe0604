"""The accelerator's ports by interface, and the clock as constraint files have it."""

from importlib.metadata import version

from .. import verilog

__all__ = ["BUSES", "VERSION", "bus_ports", "period_ns", "sdc_clock"]

#: Prefixes of the two buses.
BUSES = ("m_axi", "s_axi")
#: Of the component, as the distribution's.
VERSION = version("weft")


def bus_ports(config, bus):
    """``[(port, signal, direction, width)]`` of a bus: ``("m_axi_araddr", "araddr", "output", 40)``."""
    return [(port["name"], port["name"].removeprefix(f"{bus}_"), port["direction"], port["width"])
            for port in verilog.describe(config)["ports"] if port["name"].startswith(f"{bus}_")]


def period_ns(clock_mhz):
    """The clock's period as text, in ns with three digits."""
    return f"{1000 / clock_mhz:.3f}"


def sdc_clock(clock_mhz):
    """The command of SDC and XDC that makes the clock."""
    return f"create_clock -name clk -period {period_ns(clock_mhz)} [get_ports clk]\n"
