"""The command ``scripts/silicon``."""

import argparse
import sys
from pathlib import Path

from ..config import Config
from ..errors import InputError, WeftError
from . import cells, ecp5, options, report

#: Shapes of the table for the FPGA.
_SHAPES = ("4x4", "8x8", "8x16", "12x12")


def _config(text):
    """A configuration by name or file, or ROWSxCOLS with everything else by default."""
    rows, _, cols = text.partition("x")
    return Config(rows=int(rows), cols=int(cols)) if rows.isdigit() and cols.isdigit() else Config.load(text)


def _cells(given, tell):
    for liberty in given.liberty:
        for config in given.config or ["base"]:
            config = _config(config)
            folder = given.out / f"{Path(liberty).name.split('.')[0]}-{config.name.replace(' ', '-')}"
            tell(f"{config.name} with {liberty}: yosys, then sta")
            result = cells.measure(config, liberty, folder, given.period)
            report.merge(given.results, "cells", result, ("config", "library"))
    return report.cells_table(report.load(given.results)["cells"])


def _options(given, tell):
    lines = []
    for liberty in given.liberty:
        for config in given.config or ["base"]:
            config = _config(config)
            folder = given.out / f"{Path(liberty).name.split('.')[0]}-{config.name.replace(' ', '-')}"
            for part, area in options.measure(config, liberty, folder, given.period):
                tell(part)
                lines.append(f"{part}: {area:,.0f}")
    return "\n".join(lines)


def _ecp5(given, tell):
    for text in given.config or _SHAPES:
        config = _config(text)
        folder = given.out / f"ecp5-{ecp5.shape(config).replace(' ', '-')}{'-array' * given.array}"
        seeds = () if given.no_route else given.seed or (1, 2, 3)
        for result in ecp5.measure(config, folder, seeds, given.clock_mhz, tell, given.array):
            report.merge(given.results, "ecp5", result, ("config",))
    return report.ecp5_table(report.load(given.results)["ecp5"])


def _main(arguments=None):
    parser = argparse.ArgumentParser(prog="scripts/silicon", description="Area and clock; each command prints its table.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
            ("cells", _cells, "standard cells: area by block by yosys, clock before layout by OpenSTA"),
            ("options", _options, "standard cells: array, weight loader and row streamer without and with each option"),
            ("ecp5", _ecp5, "ECP5-85F: cells by yosys, clock by nextpnr (speed grade 6)")):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        command.add_argument("--config", action="append", metavar="NAME|FILE|ROWSxCOLS", help="may be given several times")
        command.add_argument("--out", type=Path, default=Path("build/silicon"), help="folder of netlists and logs")
        command.add_argument("--results", type=Path, help="JSON file that results are added to (default OUT/results.json)")
        if name != "ecp5":
            command.add_argument("--liberty", action="append", required=True, metavar="FILE",
                                 help="library, .gz too; may be given several times")
            command.add_argument("--period", type=float, default=1.6, help="what mapping aims at, in ns (default 1.6)")
        else:
            command.add_argument("--seed", action="append", type=int, help="may be given several times (default 1, 2, 3)")
            command.add_argument("--array", action="store_true", help="the systolic array alone")
            command.add_argument("--no-route", action="store_true", help="synthesis only: no clock")
            command.add_argument("--clock-mhz", type=float, default=100, help="what routing aims at (default 100)")
    given = parser.parse_args(arguments)
    given.results = given.results or given.out / "results.json"
    try:
        for liberty in getattr(given, "liberty", ()):
            if not Path(liberty).is_file():     # before anything is made
                raise InputError(f"library {liberty} does not exist")
        print(given.function(given, lambda words: print(words, file=sys.stderr, flush=True)))
    except (WeftError, OSError) as error:
        print(f"weft: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main())
