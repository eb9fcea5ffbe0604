"""Verilator's run-time library as object files, compiled once and shared by every simulation.

The library (verilated.cpp and a few more) is the same for each design and takes most of a small design's build. Its
objects are put into a translated design's folder before make runs there, which then has nothing to compile for them.
`python -m weft.sim.runtime_objects FOLDER MAKEFILE [NAME=value ...]` does so between cocotb's two build commands.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from weft.hw.errors import RunError
from weft.sim.build_cache import cached_build, compiler_identity, digest, processor_identity
from weft.sim.verilator import find_verilator

__all__ = ["provide"]


def _list(text, name):
    """Words of a `NAME += \\` list in a makefile that Verilator wrote."""
    match = re.search(rf"^{name} \+?=((?:.*\\\n)*.*)$", text, re.M)
    return [] if match is None else match.group(1).replace("\\\n", " ").split()


def provide(folder, makefile, make_words):
    """Put the run-time library's object files into the folder of a translated design.

    Args:
        folder: where Verilator wrote `makefile`.
        makefile: `V{top}.mk`; its `V{top}_classes.mk` lies beside it.
        make_words: `NAME=value` words that make is given for this design.
    """
    folder = Path(folder)
    text = (folder / makefile).read_text()
    classes = (folder / makefile.replace(".mk", "_classes.mk")).read_text()
    objects = sorted(f"{name}.o" for list_name in ("VM_GLOBAL_FAST", "VM_GLOBAL_SLOW")
                     for name in _list(classes, list_name))
    # What decides about these objects: switches that become macros, and options, but not where a design's headers are.
    switches = re.findall(r"^(VM_(?:SC|TIMING|COVERAGE|TRACE\w*|PROFC) = .*)$", text + classes, re.M)
    options = [word for word in _list(text, "VM_USER_CFLAGS") if not word.startswith("-I")]
    settings = [word for word in make_words if not word.startswith(("OPT_FAST=", "OPT_SLOW=", "VM_PARALLEL_BUILDS="))]
    tool = find_verilator()
    key = digest("runtime 1", objects, switches, options, settings, tool.identity, compiler_identity(),
                 processor_identity())

    def build(place):
        done = subprocess.run(["make", "-s", "-C", folder, "-f", makefile, *make_words, *objects],
                              env=tool.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RunError("Compiling Verilator's run-time library failed; the end of its log:\n"
                           + "\n".join((done.stdout + done.stderr).splitlines()[-20:]))
        for name in objects:
            shutil.copy(folder / name, place / name)

    if objects:
        ready = cached_build("runtime", key, build)
        for name in objects:
            shutil.copy(ready / name, folder / name)    # a new time stamp, so make takes it as up to date


if __name__ == "__main__":
    provide(sys.argv[1], sys.argv[2], sys.argv[3:])
