"""What it takes to write, lint and synthesize the Verilog of a configuration, large ones above all: `scripts/silicon sizes`."""

import argparse
import json
import sys
from pathlib import Path

from weft.hw.config import Config
from weft.hw.errors import WeftError
from weft.hw.memory.wrapper import MODULE
from weft.hw.silicon import report
from weft.hw.tools import find_tools, run_python, run_tool
from weft.hw.verilog import TOP

__all__ = ["measure"]

_GENERATE = "from weft.hw.verilog import generate; generate('config.json', '.')"
_LINT = f"""\
from pathlib import Path
from weft.sim.verilator import lint
found = lint({{"{TOP}.v": Path("{TOP}.v").read_text()}}, "{TOP}")
if found:
    raise SystemExit("ERROR: " + found)
"""
#: To generic cells. Memories are black boxes; modules are kept, so that each is mapped once; no latch, no loop.
_SYNTHESIS = f"""\
read_verilog {TOP}.v
blackbox {MODULE}
synth -top {TOP}
check -assert
select -assert-none t:*LATCH* t:*latch*
"""


def measure(config, folder, tell=print):
    """Writes the Verilog of a configuration into a folder, lints it with Verilator and synthesizes it with yosys.

    Returns plain values: ``config``, ``lines`` of Verilog, and for ``generate``, ``lint`` and ``synthesis`` seconds of
    processor time and MiB of memory. Raises InputError where yosys is missing, RunError where a step fails.
    """
    find_tools("yosys")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (folder / "synthesis.ys").write_text(_SYNTHESIS, encoding="utf-8")
    steps = {"generate": lambda: run_python("weft generate", _GENERATE, [], folder),
             "lint": lambda: run_python("lint", _LINT, [], folder),
             "synthesis": lambda: run_tool("yosys", ["-q", "-l", "yosys.log", "synthesis.ys"], folder, "yosys.log")}
    result = {"config": config.name}
    for name, step in steps.items():
        tell(f"{config.name}: {name}")
        done = step()
        result[name] = {"seconds": done.seconds, "mebibytes": done.mebibytes}
    return result | {"lines": (folder / f"{TOP}.v").read_text(encoding="utf-8").count("\n")}


def _main(arguments=None):
    parser = argparse.ArgumentParser(prog="scripts/silicon sizes", description="Time and memory to write, lint and synthesize "
                                     "the Verilog of configurations.")
    parser.add_argument("--config", action="append", metavar="NAME|FILE",
                        help="may be given several times (default: base, large)")
    parser.add_argument("--out", type=Path, default=Path("build/silicon"), help="folder of Verilog and logs")
    parser.add_argument("--results", type=Path, help="JSON file that results are added to (default OUT/results.json)")
    given = parser.parse_args(arguments)
    results = given.results or given.out / "results.json"
    try:
        for config in map(Config.load, given.config or ["base", "large"]):
            result = measure(config, given.out / f"size-{config.name.replace(' ', '-')}",
                             lambda words: print(words, file=sys.stderr, flush=True))
            report.merge(results, "sizes", result, ("config",))
    except (WeftError, OSError) as error:
        print(f"weft: {error}", file=sys.stderr)
        return 2
    print(report.sizes_table(report.load(results)["sizes"]))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
