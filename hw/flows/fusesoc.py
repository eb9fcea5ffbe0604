"""FuseSoC: a core description (CAPI2) that other cores depend on."""

from .interfaces import VERSION, sdc_clock

__all__ = ["files"]

_CORE = """\
CAPI=2:
name: ::weft:{version}
description: Transformer accelerator, {rows} x {cols} systolic array, AXI4 master and AXI4-Lite slave

filesets:
  rtl:
    files:
      - weft.v : {{file_type: verilogSource-2005}}
  constraints:
    files:
      - weft.xdc : {{file_type: xdc}}

targets:
  # What a design that depends on this core gets.
  default: &default
    filesets: [rtl]
    toplevel: weft

  lint:
    <<: *default
    description: Verilator's checks
    flow: lint
    flow_options:
      tool: verilator

  # The accelerator alone, without pins, to see its size and speed.
  vivado:
    <<: *default
    description: The accelerator alone in Vivado
    filesets: [rtl, constraints]
    flow: vivado
    flow_options:
      part: xc7a100tcsg324-1
      pnr: none
"""


def files(config, files, clock_mhz):
    """``weft.core`` and ``weft.xdc`` beside ``files``."""
    core = _CORE.format(version=VERSION, rows=config.rows, cols=config.cols)
    return {**files, "weft.xdc": sdc_clock(clock_mhz), "weft.core": core}
