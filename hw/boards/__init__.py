"""The accelerator on FPGA boards: memory on the chip, a host link over a serial line, and what each board has."""
