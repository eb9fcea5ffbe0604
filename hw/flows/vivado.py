"""Vivado: a wrapper whose ports say which interface they belong to, and a script that packages it as IP."""

from ..control.register_map import ADDRESS_BITS, REGISTER_MAP
from ..verilog import describe
from .interfaces import BUSES, VERSION, bus_ports, sdc_clock

__all__ = ["TOP", "files"]

#: Name of the wrapper.
TOP = "weft_ip"

_VERILOG = """\
// The accelerator for Vivado. The attributes say which interface a port belongs to, so that this module can be added to a
// block design as it is (Add Module), or be packaged as IP: vivado -mode batch -source package_ip.tcl
module {top} (
{ports}
);
    weft accelerator (
{connections}
    );
endmodule
"""

_TCL = """\
# Packages the accelerator as IP in the folder ip beside this script:
#   vivado -mode batch -source package_ip.tcl -tclargs PART
# Then add that folder to the IP repositories of a project.
set here [file dirname [file normalize [info script]]]
set part [expr {{$argc > 0 ? [lindex $argv 0] : "xc7a100tcsg324-1"}}]
set ip [file join $here ip]

create_project -force weft_packaging [file join $here weft_packaging] -part $part
add_files -norecurse [list [file join $here weft.v] [file join $here {top}.v]]
add_files -fileset constrs_1 -norecurse [file join $here weft.xdc]
# The clock of a design comes from the design; this file is for synthesis of the IP alone.
set_property USED_IN {{synthesis out_of_context}} [get_files weft.xdc]
set_property top {top} [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $ip -vendor weft -library user -taxonomy /UserIP -import_files -set_current true -force
set core [ipx::current_core]
set_property name weft $core
set_property version {version} $core
set_property display_name "Weft transformer accelerator, {rows}x{cols}" $core
set_property description "Int8 transformer accelerator: AXI4 for memory, AXI4-Lite for control" $core

# Interfaces are inferred from the attributes; what is missing fails here rather than in a block design.
foreach name {{m_axi s_axi clk rst irq}} {{
    if {{[llength [ipx::get_bus_interfaces $name -of_objects $core]] == 0}} {{
        error "interface $name was not inferred"
    }}
}}
ipx::associate_bus_interfaces -busif m_axi -clock clk $core
ipx::associate_bus_interfaces -busif s_axi -clock clk $core
ipx::associate_bus_interfaces -clock clk -reset rst $core

# The registers, so that address maps and documentation show them.
foreach old [ipx::get_memory_maps -of_objects $core] {{
    ipx::remove_memory_map [get_property name $old] $core
}}
set map [ipx::add_memory_map s_axi $core]
set_property slave_memory_map_ref s_axi [ipx::get_bus_interfaces s_axi -of_objects $core]
set block [ipx::add_address_block registers $map]
set_property usage register $block
set_property base_address 0 $block
set_property range {range} $block
set_property width 32 $block
foreach {{name offset access}} {{
{registers}
}} {{
    set register [ipx::add_register $name $block]
    set_property address_offset $offset $register
    set_property size 32 $register
    set_property access $access $register
}}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
"""


def _bus_parameters(config, bus):
    """X_INTERFACE_PARAMETER of a bus. No FREQ_HZ, here nor at the clock: a block design would insist on it."""
    common = f"XIL_INTERFACENAME {bus}"
    if bus == "s_axi":
        return f"{common}, PROTOCOL AXI4LITE, DATA_WIDTH 32, ADDR_WIDTH {ADDRESS_BITS}, READ_WRITE_MODE READ_WRITE"
    return (f"{common}, PROTOCOL AXI4, DATA_WIDTH {8 * config.data_bytes}, ADDR_WIDTH {config.address_bits}, ID_WIDTH 1, "
            f"READ_WRITE_MODE READ_WRITE, SUPPORTS_NARROW_BURST 0, MAX_BURST_LENGTH 16, NUM_READ_OUTSTANDING "
            f"{config.bursts_in_flight}, NUM_WRITE_OUTSTANDING {config.bursts_in_flight}")


def _attributes(config):
    """``{port: [(attribute, value)]}``."""
    clock = f"XIL_INTERFACENAME clk, ASSOCIATED_BUSIF {':'.join(BUSES)}, ASSOCIATED_RESET rst"
    single = {"clk": ("clock:1.0 clk CLK", clock), "rst": ("reset:1.0 rst RST", "XIL_INTERFACENAME rst, POLARITY ACTIVE_HIGH"),
              "irq": ("interrupt:1.0 irq INTERRUPT", "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH")}
    found = {port: [("X_INTERFACE_INFO", f"xilinx.com:signal:{info}"), ("X_INTERFACE_PARAMETER", parameter)]
             for port, (info, parameter) in single.items()}
    for bus in BUSES:
        for place, (port, signal, *_) in enumerate(bus_ports(config, bus)):
            found[port] = [("X_INTERFACE_INFO", f"xilinx.com:interface:aximm:1.0 {bus} {signal.upper()}")]
            if place == 0:
                found[port].append(("X_INTERFACE_PARAMETER", _bus_parameters(config, bus)))
    return found


def _wrapper(config):
    attributes, ports = _attributes(config), describe(config)["ports"]
    lines = []
    for port in ports:
        given = ", ".join(f'{name} = "{value}"' for name, value in attributes[port["name"]])
        size = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        lines.append(f"    (* {given} *)\n    {port['direction']} wire {size}{port['name']}")
    return _VERILOG.format(top=TOP, ports=",\n".join(lines),
                           connections=",\n".join(f"        .{p['name']}({p['name']})" for p in ports))


def files(config, files, clock_mhz):
    """``weft_ip.v``, ``package_ip.tcl`` and ``weft.xdc`` beside ``files``."""
    access = {"R": "read-only", "RW": "read-write"}
    registers = "\n".join(f"    {r.name} 0x{r.offset:03x} {access[r.access]}" for r in REGISTER_MAP)
    script = _TCL.format(top=TOP, version=VERSION, rows=config.rows, cols=config.cols, range=1 << ADDRESS_BITS,
                         registers=registers)
    return {**files, f"{TOP}.v": _wrapper(config), "package_ip.tcl": script, "weft.xdc": sdc_clock(clock_mhz)}
