"""Area beside gain of the vector engine's lanes: ``scripts/silicon lanes``."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from weft import workloads
from weft.hw.config import Config
from weft.hw.errors import WeftError
from weft.hw.memory import wrapper
from weft.hw.silicon import cells, report
from weft.hw.silicon.mapping import map_component
from weft.hw.tensor.array import SystolicArray
from weft.hw.vector.engine import VectorEngine
from weft.hw.verilog import convert

__all__ = ["WORKS", "areas", "measure", "utilization"]


def _minilm(config):
    from weft.text import compile_folder, minilm_folder

    return compile_folder(minilm_folder(), 32, config)


#: What is computed, by the name of its column: the `weft.Program` for a configuration.
WORKS = {
    "attention, 512 tokens, d = 64": lambda config: workloads.attention(12, 512, 64, config)[0],
    "attention, 128 tokens, d = 32": lambda config: workloads.attention(12, 128, 32, config)[0],
    "GEMM 64x64x64": lambda config: workloads.gemm(64, 64, 64, config)[0],
    "MiniLM, 32 tokens": _minilm,
}


def utilization(config):
    """``{work: utilization by the performance model}``."""
    found = {}
    for name, make in WORKS.items():
        program = make(config)
        found[name] = round(program.macs / (config.rows * config.cols * program.predicted_cycles), 4)
    return found


def areas(config, liberty, folder, period):
    """Areas of the vector engine, and of its parts as in `weft.hw.silicon.cells.BLOCKS`."""
    netlist, *_ = map_component(convert(VectorEngine(config), "vector") + wrapper.VERILOG, "vector", liberty, folder,
                                round(1000 * period))
    return {"vector engine": round(netlist.area("vector")),
            **{block: round(cells.block_area(netlist, block, "vector", "vector/"))
               for block in ("softmax", "norm", "post-processing")}}


def measure(config, lanes, array, liberty, folder, period):
    """Areas and utilization of a configuration with ``lanes`` (of vector, softmax, norm), as plain values; ``array``: that
    of the array, which has nothing to do with them."""
    names = ("vector_lanes", "softmax_lanes", "norm_lanes")
    chosen = replace(config, **dict(zip(names, lanes)))
    return {"config": config.name, "lanes": list(lanes), "default": chosen == config,
            "areas": {"array": array} | areas(chosen, liberty, Path(folder) / "-".join(map(str, lanes)), period),
            "utilization": utilization(chosen)}


def _main(arguments=None):
    parser = argparse.ArgumentParser(prog="scripts/silicon lanes", description="Cell area of the vector engine with more and "
                                     "fewer lanes, beside the utilization that the performance model predicts with them.")
    parser.add_argument("--liberty", required=True, metavar="FILE", help="standard-cell library, .gz too")
    parser.add_argument("--config", default="base", metavar="NAME|FILE")
    parser.add_argument("--lanes", action="append", metavar="V,S,N", help="vector_lanes, softmax_lanes and norm_lanes; may be "
                        "given several times (default: the configuration's, and each of them halved and doubled)")
    parser.add_argument("--period", type=float, default=1.6, help="what mapping aims at, in ns (default 1.6)")
    parser.add_argument("--out", type=Path, default=Path("build/silicon"), help="folder of netlists and logs")
    parser.add_argument("--results", type=Path, help="JSON file that results are added to (default OUT/results.json)")
    given = parser.parse_args(arguments)
    results = given.results or given.out / "results.json"
    try:
        config = Config.load(given.config)
        netlist, *_ = map_component(convert(SystolicArray(config.rows, config.cols), "array"), "array", given.liberty,
                                    given.out / "array", round(1000 * given.period))
        array = round(netlist.area("array"))
        for lanes in _choices(config, given.lanes):
            print(f"{config.name}, lanes {lanes}", file=sys.stderr, flush=True)
            report.merge(results, "lanes", measure(config, lanes, array, given.liberty, given.out / "lanes",
                                                          given.period), ("config", "lanes"))
    except ValueError as error:
        print(f"weft: {error}", file=sys.stderr)
        return 2
    except (WeftError, OSError) as error:
        print(f"weft: {error}", file=sys.stderr)
        return 2
    print(report.lanes_table(report.load(results)["lanes"]))
    return 0


def _choices(config, given):
    if given:
        return [tuple(int(number) for number in text.split(",")) for text in given]
    vector, softmax, norm = config.vector_lanes, config.softmax_lanes, config.norm_lanes
    choices = [(vector, softmax, norm)]
    choices += [(vector, s, norm) for s in (2 * softmax, softmax // 2) if s and vector % s == 0]
    choices += [(vector, softmax, n) for n in (2 * norm, norm // 2) if n and vector % n == 0]
    half = vector // 2
    if half and vector % 2 == 0:
        choices.append((half, softmax if half % softmax == 0 else half, norm if half % norm == 0 else half))
    return choices


if __name__ == "__main__":
    sys.exit(_main())
