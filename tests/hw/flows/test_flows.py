"""What `weft generate --flow` writes is taken by the tools it is for, or by whatever of them can be had."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from weft.cli import main
from weft.hw import verilog
from weft.hw.config import Config
from weft.hw.control.register_map import REGISTER_MAP
from weft.hw.errors import ConfigError
from weft.hw.flows import FLOWS, flow_files
from weft.hw.memory.listing import Memory, list_memories
from weft.sim.verilator import find_verilator

HERE = Path(__file__).parent
#: Files to read and the top; `fusesoc` and `quartus` have the weft.v of `vivado` and no other Verilog.
SOURCES = {"plain": (["weft.v"], "weft"), "vivado": (["weft_ip.v", "weft.v"], "weft_ip"),
           "openroad": (["weft.v", "weft_memory.v", "weft_macros.v"], "weft"),
           "openroad with models": (["weft.v", "weft_memory.v", "weft_models.v"], "weft")}
CONFIG = Config.named("tiny")


def tool(name):
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each flow's files for ``tiny`` at 125 MHz."""
    made = {}
    for flow in FLOWS:
        made[flow] = tmp_path_factory.mktemp(flow)
        for name, text in flow_files(CONFIG, flow, None if flow == "plain" else 125).items():
            (made[flow] / name).write_text(text)
    return made


@pytest.mark.parametrize("name", SOURCES)
def test_verilator_and_iverilog_take_it_as_it_stands(name, folders):
    (files, top), folder = SOURCES[name], folders[name.split()[0]]
    status, log = find_verilator().run(["--lint-only", "-Wall", "--top-module", top, *files], cwd=folder)
    assert status == 0 and "%" not in log, log[-2000:]
    done = subprocess.run([tool("iverilog"), "-g2005", "-Wall", "-t", "null", "-s", top, *files], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr[-2000:]


@pytest.mark.parametrize("name", SOURCES)
def test_yosys_takes_it(name, folders, yosys):
    (files, top), folder = SOURCES[name], folders[name.split()[0]]
    yosys(folder, f"read_verilog {' '.join(files)}; hierarchy -check -top {top}")


def test_the_verilog_is_the_same_in_every_flow(folders):
    plain = (folders["plain"] / "weft.v").read_text()
    assert re.sub(r"(// [^\n]*\n// verilator lint_off \w+\n)+\n", "", plain, count=1) == verilog.to_verilog(CONFIG)
    assert {p.name for p in folders["plain"].iterdir()} - {"yosys.log"} == {"weft.v", "weft.json"}
    for flow in ("fusesoc", "vivado", "quartus"):
        assert (folders[flow] / "weft.v").read_text() == plain
        assert [p.name for p in folders[flow].glob("*.v")] == ["weft.v"] or flow == "vivado"
        assert (folders[flow] / "weft.json").read_text() == (folders["plain"] / "weft.json").read_text()
    for flow, name in (("fusesoc", "weft.xdc"), ("vivado", "weft.xdc"), ("quartus", "weft.sdc"), ("openroad", "weft.sdc")):
        assert "create_clock -name clk -period 8.000 [get_ports clk]\n" in (folders[flow] / name).read_text()


def test_fusesoc_core_names_files_that_are_there(folders):
    core = (folders["fusesoc"] / "weft.core").read_text()
    assert core.startswith("CAPI=2:\n") and "toplevel: weft\n" in core
    named = re.findall(r"^      - (\S+) :", core, re.M)
    assert named == ["weft.v", "weft.xdc"] and all((folders["fusesoc"] / name).is_file() for name in named)


def run_tcl(folder, script, prelude):
    """Runs a vendor script in plain Tcl whose unknown commands are recorded; returns them, words separated by tabs."""
    (folder / "run.tcl").write_text(
        f"set argc 0; set argv {{}}\n{prelude}\nproc unknown args {{ puts [join $args \\t]; return [lindex $args end] }}\n"
        f"source {script}\n")
    done = subprocess.run([tool("tclsh"), "run.tcl"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_vivado_script_packages_every_interface(folders):
    calls = run_tcl(folders["vivado"], "package_ip.tcl", "namespace eval ipx {}")
    # A command that is not there answers with its last word, so objects are known by what they were made from.
    named = [call[0] for call in calls]
    assert named.index("create_project") < named.index("ipx::package_project") < named.index("ipx::save_core")
    files = {Path(word).name for call in calls if call[0] == "add_files" for word in " ".join(call).split()}
    assert {"weft.v", "weft_ip.v", "weft.xdc"} <= files
    associated = [tuple(call[1:-1]) for call in calls if call[0] == "ipx::associate_bus_interfaces"]
    assert associated == [("-busif", "m_axi", "-clock", "clk"), ("-busif", "s_axi", "-clock", "clk"),
                          ("-clock", "clk", "-reset", "rst")]
    assert [call[1] for call in calls if call[0] == "ipx::add_register"] == [r.name for r in REGISTER_MAP]


def test_vivado_wrapper_tells_every_port_its_interface(folders):
    text = (folders["vivado"] / "weft_ip.v").read_text()
    ports = verilog.describe(CONFIG)["ports"]
    told = dict(re.findall(r'X_INTERFACE_INFO = "([^"]+)".*\n +\w+ wire (?:\[\d+:0\] )?(\w+)', text))
    assert {port: info for info, port in told.items()} == {
        port["name"]: {"clk": "xilinx.com:signal:clock:1.0 clk CLK", "rst": "xilinx.com:signal:reset:1.0 rst RST",
                       "irq": "xilinx.com:signal:interrupt:1.0 irq INTERRUPT"}.get(
            port["name"], f"xilinx.com:interface:aximm:1.0 {port['name'][:5]} {port['name'][6:].upper()}") for port in ports}
    assert "ASSOCIATED_BUSIF m_axi:s_axi, ASSOCIATED_RESET rst" in text and "POLARITY ACTIVE_HIGH" in text
    assert f"PROTOCOL AXI4, DATA_WIDTH {8 * CONFIG.data_bytes}, ADDR_WIDTH {CONFIG.address_bits}, ID_WIDTH 1" in text


def test_quartus_component_has_every_port(folders):
    calls = run_tcl(folders["quartus"], "weft_hw.tcl", "proc package args {}")
    interfaces = {call[1]: call[2:] for call in calls if call[0] == "add_interface"}
    assert interfaces == {"clk": ["clock", "end"], "rst": ["reset", "end"], "m_axi": ["axi4", "start"],
                          "s_axi": ["axi4lite", "end"], "irq": ["interrupt", "end"]}
    ports = {call[2]: (call[1], call[3], call[4].lower(), int(call[5])) for call in calls if call[0] == "add_interface_port"}
    wanted = {p["name"]: (p["direction"], p["width"]) for p in verilog.describe(CONFIG)["ports"]}
    assert {name: port[2:] for name, port in ports.items()} == wanted
    assert ports["m_axi_awaddr"][:2] == ("m_axi", "awaddr") and ports["rst"][:2] == ("rst", "reset")
    sources = [call[1] for call in calls if call[0] == "add_fileset_file"]
    assert sources == ["weft.v", "weft.v"]
    for name in ("m_axi", "s_axi", "irq"):
        properties = {call[2]: call[3] for call in calls if call[:2] == ["set_interface_property", name]}
        assert properties["associatedClock"] == "clk" and properties["associatedReset"] == "rst"


def test_openroad_lists_every_memory(folders):
    folder = folders["openroad"]
    entries = json.loads((folder / "memories.json").read_text())
    plain = verilog.describe(CONFIG)["memories"]
    assert [(e["width"], e["words"], e["count"]) for e in entries] == [(m["width"], m["depth"], m["count"]) for m in plain]
    assert [e["write_mask"]["lane"] if e["write_mask"] else e["width"] for e in entries] == [m["lane"] for m in plain]
    assert all(len(set(e["instances"])) == e["count"] and e["bits"] == e["words"] * e["width"] for e in entries)
    macros = (folder / "weft_macros.v").read_text()
    assert re.findall(r"^\(\* blackbox \*\)\nmodule (\w+) ", macros, re.M) == [e["name"] for e in entries]
    assert "module weft_memory " not in (folder / "weft.v").read_text()
    # From another folder, as the flow's makefile includes it.
    (folder / "print.mk").write_text("all: ; @echo $(DESIGN_NAME) $(SDC_FILE) $(VERILOG_FILES)\n")
    done = subprocess.run([tool("make"), "-s", "-f", folder / "config.mk", "-f", folder / "print.mk", "all"], cwd=folder.parent,
                          capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["weft", *(str(folder / name) for name in (
        "weft.sdc", "weft.v", "weft_memory.v", "weft_macros.v"))]


def test_memories_are_found_through_modules_used_twice():
    memory = ("  weft_memory #(\n    .ADDRESS_BITS(32'd4),\n    .DEPTH(32'd16),\n    .LANE(32'd4),\n    .WIDTH(32'd8)\n"
              "  ) m (\n  );\n")
    text = f"module leaf(clk);\n{memory}endmodule\nmodule top(clk);\n  leaf a (\n  );\n  leaf b (\n  );\n{memory}endmodule\n"
    shape = Memory(8, 16, 4)
    assert list_memories(text, "top") == [("m", shape), ("a.m", shape), ("b.m", shape)]
    assert (shape.lanes, shape.address_bits) == (2, 4)


def test_openroad_wrapper_behaves_as_the_plain_memory(folders, tmp_path):
    """Random accesses to every shape, the plain memory beside the wrapper with its models."""
    folder = folders["openroad"]
    plain = (folders["plain"] / "weft.v").read_text()
    plain = plain[plain.index("module weft_memory "):].replace("module weft_memory ", "module plain_memory ")
    (tmp_path / "plain.v").write_text(plain)
    shapes = json.loads((folder / "memories.json").read_text())
    benches = "".join(
        f"  pair #(.WIDTH({s['width']}), .DEPTH({s['words']}), .LANE({s['write_mask']['lane'] if s['write_mask'] else s['width']}),"
        f" .ADDRESS_BITS({(s['words'] - 1).bit_length()})) p{n} (.clk(clk), .bad(bad[{n}]), .seen(seen[{n}]));\n"
        for n, s in enumerate(shapes))
    bench = (HERE / "memories.v").read_text().replace("/* pairs */", benches).replace("PAIRS", str(len(shapes)))
    (tmp_path / "bench.v").write_text(bench)
    sources = [tmp_path / "bench.v", tmp_path / "plain.v", folder / "weft_memory.v", folder / "weft_models.v"]
    subprocess.run([tool("iverilog"), "-g2005", "-s", "bench", "-o", tmp_path / "bench", *sources], check=True)
    said = subprocess.run([tool("vvp"), "-n", tmp_path / "bench"], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["equal", "1" * len(shapes)]


@pytest.mark.parametrize("options, words", [
    (["--flow", "libero"], ["libero", "plain, fusesoc, vivado, quartus, openroad"]),
    (["--clock-mhz", "100"], ["clock", "fusesoc"]),
    (["--flow", "vivado", "--clock-mhz", "0"], ["clock", "0"]),
    (["--flow", "vivado", "--clock-mhz", "nan"], ["clock", "nan"]),
    (["--flow", "vivado", "--out", "taken"], ["taken"]),
])
def test_bad_input_leaves_nothing_behind(options, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken" / "weft_ip.v").mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        main(["generate", "--config", "tiny", *(() if "--out" in options else ("--out", "out")), *options])
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("generating")]
    assert stop.value.code == 2 and len(said) == 1 and all(word in said[0] for word in words)
    assert [path.name for path in tmp_path.rglob("*") if path.name != "out"] == ["taken", "weft_ip.v"]


def test_unknown_flow():
    with pytest.raises(ConfigError, match="libero"):
        flow_files(CONFIG, "libero")
