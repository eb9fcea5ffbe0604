"""Detailed placement of a packed ECP5 netlist by slack, between nextpnr's placer and its router.

nextpnr solves for all cells together and then moves single cells a few columns: a gate between two engines can stay beside one of
four that it serves, 50 columns from what it makes late. Here whatever stands on paths that are too long goes where they get
shorter: alone, with what it is tied to, with its neighbours on the path, in exchange, or in place of cells that have time.

`packed.py`: the netlist; `delays.py`: how long cells and wires take; `slack.py`: arrival times; `sites.py`: what moves together,
and what a tile of slices can hold; `refine.py`: the moves; `repair.py`: the same in a netlist that has been routed, by delays that
nextpnr wrote (`routed.py`).
"""

from .refine import refine
from .repair import repair

__all__ = ["refine", "repair"]
