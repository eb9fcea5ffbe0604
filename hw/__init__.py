"""Hardware of the accelerator: configuration, instruction set, every block, top level, Verilog emission."""
