"""The cocotb regressions of the whole accelerator on any configuration: ``weft regress``."""

import json

from weft.sim.cocotb_runner import run_benches
from weft.sim.rtl.library import TOP, sources_of

__all__ = ["run", "main"]

#: Modules with benches of the whole accelerator.
BENCHES = "weft.sim.cocotb.bench_programs"


def run(config, verilog_dir=None, select=None, programs=6, seed=None):
    """Runs the regressions; returns the names of those that passed.

    ``verilog_dir``: folder with the accelerator's Verilog instead of generating it; ``select``: regular expression on the
    benches' names; ``programs``: random programs for each memory; ``seed``: of the benches' random numbers.

    Raises RunError when one fails, with the end of its log.
    """
    return run_benches(sources_of(config, verilog_dir), TOP, BENCHES, test_filter=select, seed=seed,
                       env={"WEFT_CONFIG": json.dumps(config.to_dict()), "WEFT_PROGRAMS": str(programs)})


def main(config, verilog_dir=None):
    """`run`, and prints what passed."""
    for name in run(config, verilog_dir):
        print(f"passed {name}")
