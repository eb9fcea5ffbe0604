"""Netlists as nextpnr writes them once they are packed and placed."""

import re

from weft.hw.silicon.placement.packed import Packed

OUTPUTS = {"TRELLIS_COMB": ("F", "OFX", "FCO"), "TRELLIS_FF": ("Q",), "TRELLIS_RAMW": ("WADO0", "WDO0"), "DP16KD": ("DOA0",),
           "DCCA": ("CLKO",)}
CLOCK = 1
#: What both registers of a slice have in common.
CONTROLS = {"LSRMUX": "LSR", "CEMUX": "CE", "CLKMUX": "CLK"}


def cell(kind, site, parameters=None, **pins):
    """``pins``: their nets. Sites are named as nextpnr does, those of slices in short: "3/4/B.K1"."""
    if re.fullmatch(r"\d+/\d+/[A-D]\..*", site):
        x, y, place = site.split("/")
        site = f"X{x}/Y{y}/SLICE{place}"
    return {"type": kind, "parameters": parameters or {}, "attributes": {"NEXTPNR_BEL": site, "BEL_STRENGTH": f"{1:032b}"},
            "port_directions": {pin: "output" if pin in OUTPUTS[kind] else "input" for pin in pins},
            "connections": {pin: [] if net is None else [net] for pin, net in pins.items()}}


def table(site, output, *inputs, mode="LOGIC", **pins):
    """A lookup table."""
    return cell("TRELLIS_COMB", site, {"MODE": mode}, F=output, **dict(zip("ABCD", inputs, strict=False)), **pins)


def register(site, output, pin, source, **pins):
    """A register that takes what its own table has (``pin`` "DI") or a wire ("M")."""
    controls = CONTROLS | ({"SRMODE": "LSR_OVER_CE"} if pins.get("LSR") else {})
    return cell("TRELLIS_FF", site, controls, Q=output, CLK=CLOCK, **{pin: source}, **pins)


def netlist(**cells):
    return {"modules": {"top": {"cells": cells}, "unused": {"cells": {}}}}


def packed(**cells):
    return Packed(netlist(**cells))
