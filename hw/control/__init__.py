"""Control: instruction fetch, AXI4-Lite registers, counters."""
