"""The cocotb regressions on any configuration: ``weft regress``."""

import json
import re

from weft.hw.errors import InputError, RunError
from weft.hw.memory import wrapper
from weft.sim.cocotb_runner import run_benches
from weft.sim.rtl.library import TOP, sources_of

__all__ = ["run"]

# Benches of the whole accelerator.
_WHOLE = "bench_control", "bench_dma", "bench_programs"


def _blocks(config):
    """Blocks with benches of their own: ``(module name, function that makes the component, bench module)``."""
    from weft.hw.memory.accumulators import Accumulators
    from weft.hw.memory.scratchpad import Scratchpad
    from weft.hw.tensor.array import SystolicArray
    from weft.hw.tensor.panel_reader import row_ports
    from weft.sim.cocotb.stream_harness import StreamHarness
    from weft.sim.cocotb.tensor_harness import TensorHarness
    from weft.sim.cocotb.vector_harness import VectorHarness, VectorPartsHarness

    reads, writes = [*row_ports(config), "weights", "vector_a", "vector_b", "store"], ["vector", "load"]
    yield "stream_harness", lambda: StreamHarness(config), "bench_streams"
    yield "systolic_array", lambda: SystolicArray(config.rows, config.cols, config.activation_lanes), "bench_array"
    yield "scratchpad", lambda: Scratchpad(config, reads, writes), "bench_scratchpad"
    yield "accumulators", lambda: Accumulators(config), "bench_accumulators"
    yield "tensor_harness", lambda: TensorHarness(config), "bench_tensor"
    yield "vector_parts_harness", lambda: VectorPartsHarness(config), "bench_vector_parts"
    yield "vector_harness", lambda: VectorHarness(config), "bench_vector"


def _suites(config, verilog_dir):
    """``(sources, top, bench module)`` of everything that is run.

    The benches of control and DMA need nothing but the accelerator's ports, so they run on the whole of it.
    """
    if verilog_dir is None:
        from weft.hw.verilog import convert

        for name, make, bench in _blocks(config):
            yield {f"{name}.v": convert(make(), name) + wrapper.VERILOG}, name, bench
    for bench in _WHOLE:
        yield sources_of(config, verilog_dir), TOP, bench


def run(config, verilog_dir=None, select=None, programs=6, seed=None):
    """Runs the regressions; returns the names of those that passed, each behind its bench's.

    Blocks run against NumPy. The whole accelerator runs on an independent AXI memory: registers, control instructions
    and errors; random loads and stores against NumPy; random programs, every byte compared with the golden model.
    Blocks are generated, so with ``verilog_dir`` (a folder with the accelerator's Verilog, used instead of generating
    it) the whole is tested only. ``select``: regular expression on the benches' names; ``programs``: random programs
    for each kind of memory; ``seed``: of the benches' random numbers.

    Raises RunError when one fails, with the end of its log; InputError where ``select`` is no regular expression or matches
    none.
    """
    text = json.dumps(config.to_dict())
    environment = {"WEFT_CONFIG": text, "ROWS": str(config.rows), "COLS": str(config.cols),
                   "LANES": str(config.activation_lanes), "WEFT_PROGRAMS": str(programs)}
    try:
        re.compile(select or "")
    except re.error as error:
        raise InputError(f"{select!r} is no regular expression: {error}") from None
    passed = []
    for sources, top, bench in _suites(config, verilog_dir):
        try:
            names = run_benches(sources, top, f"weft.sim.cocotb.{bench}", test_filter=select, seed=seed,
                                env=environment)
            passed += [f"{bench.removeprefix('bench_')}.{name}" for name in names]
        except RunError as error:
            if select is None or not str(error).startswith("No cocotb test ran"):
                raise
    if not passed:
        raise InputError(f"no regression's name matches {select!r}")
    return passed
