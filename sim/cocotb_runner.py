"""cocotb on Verilator, built once per content and with only the top's ports public.

cocotb's own runner makes every signal public (`--public-flat-rw`), which costs a factor of 3 to 5 in speed, and
translates the Verilog again at each call. The runner here drops the option and keeps executables in the cache.
"""

import io
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from contextlib import redirect_stdout
from pathlib import Path

import cocotb_tools.config
from cocotb_tools import runner as cocotb_tools_runner

from weft.hw.errors import RunError
from weft.sim.build_cache import cached_build, compiler_identity, digest, processor_identity
from weft.sim.verilator import WHOLE, find_verilator

__all__ = ["WeftVerilator", "cocotb_runner", "run_benches"]

RUNNER_NAME = "weft-verilator"

_LOG_LINES = 30


class WeftVerilator(cocotb_tools_runner.Verilator):
    """cocotb's Verilator runner with ports-only access and a cache keyed by content.

    `build` takes the arguments of the base class except `build_dir`, `clean` and `always`, which the cache
    decides; `test` takes them all, and needs `test_dir` (the cache is no place for results).
    """

    def _simulator_in_path_build_only(self):
        self.executable = str(find_verilator().executable)

    def _set_env_build(self):
        super()._set_env_build()
        tool_env = find_verilator().environment()
        for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VERILATOR_ROOT"):
            self.env.pop(name, None)
            if name in tool_env:
                self.env[name] = tool_env[name]

    def _build_command(self):
        translate, make = super()._build_command()
        translate = [word for word in translate if word != "--public-flat-rw"]
        translate[1:1] = ["--public-depth", "1", "-Wno-fatal"]
        words = [*find_verilator().make_arguments(), "OPT_FAST=-O1 -march=native", WHOLE]
        provide = [sys.executable, "-m", "weft.sim.runtime_objects", str(self.build_dir), "Vtop.mk", *words]
        return [translate, provide, [*make, "-s", *words]]

    def build(self, *, sources=(), hdl_toplevel, build_args=(), parameters=None, defines=None, includes=(),
              timescale=None, waves=False, verbose=False):
        """Build the simulation executable unless the cache has it; raises RunError with the log's end."""
        sources = [Path(source).resolve() for source in sources]
        named = [Path(word) for word in build_args if str(word).endswith((".cpp", ".cc", ".c", ".h"))]
        headers = [path for folder in includes for path in sorted(Path(folder).iterdir()) if path.is_file()]
        tool = find_verilator()
        key = digest("cocotb 2", [(path.name, path.read_bytes()) for path in [*sources, *named, *headers]],
                     hdl_toplevel, [str(word) for word in build_args],
                     repr(sorted((parameters or {}).items())), repr(sorted((defines or {}).items())),
                     repr(timescale), repr(waves), tool.identity, tool.make_variables, compiler_identity(),
                     processor_identity(), str(cocotb_tools.config.libs_dir))

        def build(folder):
            log = folder / "build.log"
            try:
                # Control files may not be last: cocotb takes the top from the last source.
                super(WeftVerilator, self).build(
                    sources=sorted(sources, key=lambda path: path.suffix != ".vlt"),
                    hdl_toplevel=hdl_toplevel, build_args=list(build_args), parameters=parameters or {},
                    defines=defines or {}, includes=list(includes), timescale=timescale, waves=waves,
                    verbose=verbose, always=True, build_dir=folder / "obj", log_file=log)
            except (SystemExit, Exception) as error:
                text = log.read_text(errors="replace") if log.is_file() else str(error)
                raise RunError(f"Building the cocotb simulation of {hdl_toplevel!r} failed; the end of its log:\n"
                               + _last_lines(text)) from error
            (folder / "obj" / hdl_toplevel).rename(folder / hdl_toplevel)
            shutil.rmtree(folder / "obj")

        self.build_dir = cached_build(f"cocotb-{hdl_toplevel}", key, build)
        return self.build_dir


def cocotb_runner():
    """A `WeftVerilator`, registered with cocotb as "weft-verilator" so that `get_runner` knows it as well."""
    cocotb_tools_runner.SUPPORTED_RUNNERS[RUNNER_NAME] = WeftVerilator
    return cocotb_tools_runner.get_runner(RUNNER_NAME)


def run_benches(verilog_sources, top, test_module, *, work_dir=None, test_filter=None, env=None, build_args=(),
                parameters=None, plusargs=(), seed=None, waves=False, test_args=()):
    """Build `verilog_sources` and run the cocotb benches of a module on them.

    Args:
        verilog_sources: `{file name: text}`, `.vlt` control files included.
        top: name of the top module.
        test_module: importable name of the module with the benches, or several.
        work_dir: where results, logs and waves go; a temporary folder by default.
        test_filter: regular expression on `module.test` names.
        env: more environment variables for the simulation, which is how benches get their parameters.
        build_args: more Verilator options, C++ sources by absolute path among them.
        seed: of cocotb's random numbers; by default cocotb draws one and the log names it.

    Returns:
        Names of the tests that ran, all of them passed.

    Raises:
        RunError: when a test fails, none ran, or the simulation ended early; with the end of the log.
    """
    if work_dir is None:
        with tempfile.TemporaryDirectory(prefix="weft-") as folder:
            return run_benches(verilog_sources, top, test_module, work_dir=folder, test_filter=test_filter, env=env,
                               build_args=build_args, parameters=parameters, plusargs=plusargs, seed=seed,
                               waves=waves, test_args=test_args)
    work_dir = Path(work_dir).absolute()
    (work_dir / "rtl").mkdir(parents=True, exist_ok=True)
    sources = []
    for name, text in verilog_sources.items():
        path = work_dir / "rtl" / name
        path.write_text(text)
        if not name.endswith((".vh", ".svh", ".hex", ".mem")):
            sources.append(path)
    runner = cocotb_runner()
    log = work_dir / "sim.log"
    results_file = work_dir / "results.xml"
    with redirect_stdout(io.StringIO()):            # cocotb prints the commands it runs
        runner.build(sources=sources, hdl_toplevel=top, build_args=build_args, parameters=parameters, waves=waves)
        try:
            runner.test(test_module=test_module, hdl_toplevel=top, hdl_toplevel_lang="verilog", test_dir=work_dir,
                        results_xml=str(results_file), test_filter=test_filter, seed=seed, plusargs=list(plusargs),
                        extra_env={"COCOTB_ANSI_OUTPUT": "0", **(env or {})}, waves=waves, log_file=log,
                        test_args=list(test_args))
        except (SystemExit, Exception) as error:
            if not results_file.is_file():
                raise _without_results(top, log, error) from error
    if not results_file.is_file():
        raise _without_results(top, log, "")
    text = log.read_text(errors="replace") if log.is_file() else ""
    passed, failed = [], []
    for case in ElementTree.parse(results_file).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name"))
        elif case.find("skipped") is None:
            passed.append(case.get("name"))
    if failed:
        raise RunError(f"cocotb tests failed on {top!r}: {', '.join(failed)}; the end of the log:\n" + _last_lines(text))
    if not passed:
        raise RunError(f"No cocotb test ran on {top!r}: nothing in {test_module} matches {test_filter!r}.")
    return passed


def _without_results(top, log, error):
    text = log.read_text(errors="replace") if log.is_file() else str(error)
    return RunError(f"The cocotb simulation of {top!r} ended without results; the end of its log:\n" + _last_lines(text))


def _last_lines(text):
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LOG_LINES:])
