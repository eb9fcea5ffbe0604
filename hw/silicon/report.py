"""The tables made of measured results, which ``measured.json`` keeps for the page's."""

import json
from pathlib import Path

__all__ = ["MEASURED", "cells_table", "ecp5_table", "lanes_table", "load", "merge", "sizes_table"]

#: The results that the tables of ``hw/README.md`` show.
MEASURED = Path(__file__).with_name("measured.json")

_LIBRARIES = {"nangate45_typ": "Nangate45", "sky130hd_tt": "SkyWater 130 hd"}


def load(path=MEASURED):
    """``{"cells": [...], "ecp5": [...], "lanes": [...], "sizes": [...]}`` of a file of results; each empty where there are none."""
    found = json.loads(Path(path).read_text(encoding="utf-8")) if Path(path).is_file() else {}
    return {kind: found.get(kind, []) for kind in ("cells", "ecp5", "lanes", "sizes")}


def merge(path, kind, result, keys):
    """Adds a result to those of its kind in a file, in the place of one that is equal in ``keys``."""
    results = load(path)
    kept = [old for old in results[kind] if any(old.get(key) != result[key] for key in keys)]
    results[kind] = [*kept, result]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def cells_table(results):
    """Area by block, one column for each library and configuration."""
    if not results:
        return "Not measured.\n"
    header = ["square micrometres"] + [f"{_LIBRARIES.get(r['library'], r['library'])}, `{r['config']}`" for r in results]
    rows = [[block, *(f"{r['areas'][block]:,} ({r['areas'][block] / r['total']:.1%})" for r in results)]
            for block in results[0]["areas"] if block != "rest"]
    rows += [
        ["all cells", *(f"{r['total']:,}" for r in results)],
        ["a MAC, with its share of everything", *(f"{r['area_per_mac']:,}" for r in results)],
        ["clock before layout, MHz", *(r["clock_mhz"] for r in results)],
        ["yosys: processor time, memory", *(f"{r['yosys_seconds']:.0f} s, {r['yosys_mib'] / 1024:.1f} GiB" for r in results)],
    ]
    return _table(header, rows)


def ecp5_table(results):
    """One row for each configuration."""
    if not results:
        return "Not measured.\n"

    def clock(result):
        clocks = [f"{clock:.0f}" for clock in result["clocks"].values()]
        if not clocks:
            return "not routed"
        return f"{result['clock_mhz']:.0f} ({', '.join(clocks) if len(clocks) > 1 else 'one seed'})"

    return _table(
        ["array", "multipliers", "LUTs", "registers", "block RAM", "clock, MHz (seeds)", "yosys"],
        [[r["config"], f"{r['multipliers']}{', others in LUTs' if r['soft_multipliers'] else ''}", f"{r['luts']:,}",
          f"{r['registers']:,}", r["block_ram"], clock(r), f"{r['yosys_seconds']:.0f} s"]
         for r in results])


def lanes_table(results):
    """One row for each number of lanes: areas beside utilization."""
    if not results:
        return "Not measured.\n"
    works = list(results[0]["utilization"])
    return _table(
        ["`vector_lanes`, `softmax_lanes`, `norm_lanes`", "array", "post-processing", "softmax", "norm", "vector engine", *works],
        [[", ".join(map(str, r["lanes"])) + (" (default)" if r["default"] else ""), *(f"{r['areas'][name]:,}" for name in (
            "array", "post-processing", "softmax", "norm", "vector engine")), *(f"{r['utilization'][w]:.1%}" for w in works)]
         for r in results])


def sizes_table(results):
    """One row for each configuration: processor time and memory of each step."""
    if not results:
        return "Not measured.\n"
    steps = ("generate", "lint", "synthesis")
    return _table(
        ["configuration", "lines of Verilog", "`weft generate`", "Verilator's lint", "yosys `synth`"],
        [[f"`{r['config']}`", f"{r['lines']:,}",
          *(f"{r[step]['seconds']:.0f} s, {r[step]['mebibytes'] / 1024:.1f} GiB" for step in steps)] for r in results])
