"""Area and clock of the accelerator: standard cells by yosys and OpenSTA, ECP5 by yosys and nextpnr.

`liberty.py`, `netlist.py`, `mapping.py`, `timing.py`, `cells.py`: standard cells; `options.py`: what the configuration's options
take of them; `ecp5.py`: FPGA, by `route.py`, with `placement/` between nextpnr's placer and its router; `report.py`: the tables made
of the results. ``scripts/silicon`` runs them.
"""
