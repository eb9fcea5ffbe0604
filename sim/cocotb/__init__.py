"""cocotb regressions of the generated Verilog, run on any configuration."""
