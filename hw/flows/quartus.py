"""Quartus: a component of Platform Designer, and constraints for the accelerator as the top of a project."""

from .interfaces import VERSION, bus_ports, sdc_clock

__all__ = ["files"]

_HEAD = """\
# Component of Platform Designer: put this folder on its search path (qsys-generate --search-path, or Tools > Options).
package require -exact qsys 16.1

set_module_property NAME weft
set_module_property VERSION {version}
set_module_property DISPLAY_NAME "Weft transformer accelerator, {rows}x{cols}"
set_module_property DESCRIPTION "Int8 transformer accelerator: AXI4 for memory, AXI4-Lite for control"
set_module_property GROUP "Weft"
set_module_property INSTANTIATE_IN_SYSTEM_MODULE true
set_module_property EDITABLE false

# The clock is constrained by the system; weft.sdc is for projects whose top the accelerator is.
foreach {{fileset kind}} {{synthesis QUARTUS_SYNTH simulation SIM_VERILOG}} {{
    add_fileset $fileset $kind "" ""
    set_fileset_property $fileset TOP_LEVEL weft
    add_fileset_file weft.v VERILOG PATH weft.v TOP_LEVEL_FILE
}}

add_interface clk clock end
add_interface_port clk clk clk Input 1

# Synchronous on both edges, high.
add_interface rst reset end
set_interface_property rst associatedClock clk
set_interface_property rst synchronousEdges BOTH
add_interface_port rst rst reset Input 1
"""

_MASTER = """
add_interface m_axi axi4 start
set_interface_property m_axi associatedClock clk
set_interface_property m_axi associatedReset rst
set_interface_property m_axi readIssuingCapability {bursts}
set_interface_property m_axi writeIssuingCapability {bursts}
set_interface_property m_axi combinedIssuingCapability {both}
"""

_SLAVE = """
add_interface s_axi axi4lite end
set_interface_property s_axi associatedClock clk
set_interface_property s_axi associatedReset rst
set_interface_property s_axi readAcceptanceCapability 1
set_interface_property s_axi writeAcceptanceCapability 1
set_interface_property s_axi combinedAcceptanceCapability 2
"""

_INTERRUPT = """
add_interface irq interrupt end
set_interface_property irq associatedAddressablePoint s_axi
set_interface_property irq associatedClock clk
set_interface_property irq associatedReset rst
add_interface_port irq irq irq Output 1
"""

_SDC = """\
# For a project whose top the accelerator is. Its ports are meant for logic beside it, not for pins: make them virtual
# pins, or look at paths between registers only.
"""


def _ports(config, bus):
    return "".join(f"add_interface_port {bus} {port} {signal} {direction.capitalize()} {width}\n"
                   for port, signal, direction, width in bus_ports(config, bus))


def files(config, files, clock_mhz):
    """``weft_hw.tcl`` and ``weft.sdc`` beside ``files``."""
    bursts = config.bursts_in_flight
    component = (_HEAD.format(version=VERSION, rows=config.rows, cols=config.cols)
                 + _MASTER.format(bursts=bursts, both=2 * bursts) + _ports(config, "m_axi")
                 + _SLAVE + _ports(config, "s_axi") + _INTERRUPT)
    return {**files, "weft.sdc": _SDC + sdc_clock(clock_mhz) + "derive_clock_uncertainty\n", "weft_hw.tcl": component}
