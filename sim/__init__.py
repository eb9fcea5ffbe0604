"""Golden model and RTL simulation of the accelerator."""
