"""The generated Verilog: fit to be read, clean, synthesizable; weft.json tells the truth about it."""

import json
import re
from pathlib import Path

import pytest

from weft.hw import isa, verilog
from weft.hw.config import Config
from weft.hw.control.register_map import REGISTER_MAP
from weft.hw.dead_logic import remove_dead_logic
from weft.hw.errors import ConfigError
from weft.hw.memory import wrapper
from weft.hw.rtlil import Instance, merge_modules
from weft.sim.verilator import lint

ODD = {"4x8": Config(rows=4, cols=8), "8x12": Config(rows=8, cols=12), "12x16": Config(rows=12, cols=16)}
EXTREMES = {"4x64": Config(rows=4, cols=64), "64x4": Config(rows=64, cols=4), "64x64": Config(rows=64, cols=64),
            "63x61": Config(rows=63, cols=61, vector_lanes=1, data_bytes=4, scratchpad_banks=1, accumulator_banks=2)}
#: Synthesis scripts of yosys. Modules stay, so that each is mapped once however often it is used.
FLOWS = {"synth": "synth", "synth_ecp5": "synth_ecp5 -noflatten"}
#: The same up to the minimization of the logic (ABC), which takes two thirds of the time and can fail on combinational
#: loops only, which `check` finds as well.
SHORT_FLOWS = {"synth": "synth -noabc", "synth_ecp5": "synth_ecp5 -noflatten -run begin:map_luts"}


OPTIONS = {"8x4 with options": Config(rows=8, cols=4, four_bit=True, circulant=(4,), sparsity="1:4")}


def config_of(name):
    return ODD.get(name) or OPTIONS.get(name) or EXTREMES.get(name) or Config.named(name)


@pytest.fixture(scope="module")
def tiny():
    return verilog.to_verilog("tiny")


def modules_of(text):
    return dict(re.findall(r"^module (\w+)(.*?)^endmodule", text, re.M | re.S))


@pytest.mark.parametrize("name", ["tiny", "4x8", *(pytest.param(name, marks=pytest.mark.large) for name in
                                                 ("8x12", "12x16", "small", "base", "large", *EXTREMES, *OPTIONS))])
def test_lint(name):
    assert lint({"weft.v": verilog.file_texts(config_of(name))["weft.v"]}, verilog.TOP) == ""


def test_lint_would_complain(tiny):
    broken = tiny.replace("assign irq = ", "assign irq_off = ", 1)
    assert broken != tiny
    assert lint({"weft.v": verilog.with_pragmas(broken)}, verilog.TOP)


def test_equal_modules_are_written_once(tiny):
    modules = modules_of(tiny)
    bodies = {}
    for name, body in modules.items():
        assert body not in bodies, f"{name} and {bodies[body]} are equal"
        bodies[body] = name
    assert all(name == "weft" or name.startswith("weft_") for name in modules)
    # One module serves every inner processing element, whatever the size of the array.
    elements = [name for name in modules if "processing_element" in name or re.search(r"array_pe_\d", name)]
    assert 1 <= len(elements) <= 9
    assert tiny.count(f"module {wrapper.MODULE} ") == 1


def test_names_are_plain(tiny):
    ours = tiny[:tiny.index(f"module {wrapper.MODULE} ")]
    escaped = set(re.findall(r"\\\S+", ours))
    assert not escaped
    assert str(Path(verilog.__file__).parent) not in tiny and "$auto$" not in tiny
    # Instances connect their ports by name.
    instances = re.findall(r"^  weft_\w+ (?:#\(.*?\) )?\w+ \((.*?)\n  \);", ours, re.M | re.S)
    assert len(instances) > 50
    assert all(line.lstrip().startswith(".") for text in instances for line in text.strip().splitlines())


def test_ports(tiny):
    head = re.search(r"^module weft\((.*?)\);", tiny, re.M | re.S)[1]
    ports = {name.strip() for name in head.split(",")}
    assert ports == {port["name"] for port in verilog.describe("tiny")["ports"]}
    for channel, names in {"ar": "id addr len size burst lock cache prot qos valid ready", "r": "id data resp last valid ready",
                           "aw": "id addr len size burst lock cache prot qos valid ready", "w": "data strb last valid ready",
                           "b": "id resp valid ready"}.items():
        assert {f"m_axi_{channel}{name}" for name in names.split()} <= ports
    assert {"clk", "rst", "irq", "s_axi_awaddr", "s_axi_rdata"} <= ports


def test_generate(tmp_path):
    out = tmp_path / "build" / "tiny"
    files = verilog.generate("tiny", out)
    assert sorted(path.name for path in out.iterdir()) == ["weft.json", "weft.v"] == sorted(p.name for p in files)
    text, description = (out / "weft.v").read_text(), json.loads((out / "weft.json").read_text())
    config = Config.named("tiny")
    assert text == verilog.with_pragmas(verilog.to_verilog(config))
    assert description["fingerprint"] == config.fingerprint and description["isa_version"] == isa.VERSION
    assert Config(**description["parameters"]) == config
    assert [r["offset"] for r in description["registers"]] == [r.offset for r in REGISTER_MAP]
    widths = {port["name"]: port["width"] for port in description["ports"]}
    assert widths["m_axi_rdata"] == 8 * config.data_bytes and widths["m_axi_araddr"] == config.address_bits
    # The scratchpad and the accumulators are among the memories, whole.
    bits = {}
    for memory in description["memories"]:
        key = memory["width"]
        bits[key] = bits.get(key, 0) + memory["width"] * memory["depth"] * memory["count"]
    assert bits[8 * config.line_bytes] >= 8192 * config.scratchpad_kib
    assert bits[32 * config.cols] >= 8192 * config.accumulator_kib
    # Again, over what is there.
    before = (out / "weft.v").stat().st_ino
    verilog.generate(config, out)
    assert (out / "weft.v").stat().st_ino != before and (out / "weft.v").read_text() == text


def test_unknown_configuration(tmp_path):
    with pytest.raises(ConfigError):
        verilog.generate("huge", tmp_path)
    assert not list(tmp_path.iterdir())


def test_merge_and_dead_logic():
    leaf = """
  wire width 1 input 0  \\a
  wire width 1 output 1  \\y$3
  wire width 1 output 2  \\unused
  wire width 1 \\y
connect \\y \\a [0]
connect \\y$3 \\y [0]
connect \\unused \\a [0]
"""
    text = f"""
module \\t
  wire width 1 input 0  \\a
  wire width 1 output 1  \\o
  wire width 1 output 2  \\p
  wire width 1 \\nobody
  wire width 1 \\x
  cell \\t.one \\one
    connect \\a \\a [0]
    connect \\y$3 \\o
    connect \\unused \\nobody
  end
  cell \\t.two \\two
    connect \\a \\a [0]
    connect \\y$3 \\p
    connect \\unused \\x
  end
end
module \\t.one
{leaf}
end
module \\t.two
{leaf}
end
"""
    result = merge_modules(text, {"t": Instance("Top", ()), "t.one": Instance("Leaf", ("one",)),
                                  "t.two": Instance("Leaf", ("two",))}, "t", {})
    assert result.count("module ") == 2 and result.count("cell \\t_leaf ") == 2
    assert "unused" not in result and "nobody" not in result
    assert result.count("    connect \\y \\") == 2 and "$" not in result


def test_dead_logic_keeps_what_acts():
    body = """
  wire width 1 input 1 \\clk
  wire width 1 $1
  wire width 1 \\state
  memory width 1 size 2 \\storage
  cell $memwr_v2 $2
    parameter \\MEMID "\\\\storage"
    connect \\CLK \\clk [0]
    connect \\DATA \\state [0]
  end
  cell $dff $3
    connect \\CLK \\clk [0]
    connect \\D $1
    connect \\Q \\state
  end
  cell $not $4
    connect \\A \\state [0]
    connect \\Y $1
  end
  cell $not $5
    connect \\A \\state [0]
    connect \\Y \\dead
  end
  wire width 1 \\dead
"""
    result = remove_dead_logic({"\\t": body}, "\\t", {})["\\t"]
    assert "$memwr_v2" in result and "$dff" in result and "$4" in result
    assert "dead" not in result and "$5" not in result


@pytest.mark.large
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("name", ["tiny", "small", "base", "large", *ODD])
def test_synthesis(name, flow, tmp_path, yosys):
    # Memories stay macros: what is checked is the logic.
    text = verilog.to_verilog(config_of(name))
    logic = text[:text.index(wrapper.VERILOG)]
    macro = re.search(r"^module .*?^\);\n", wrapper.VERILOG, re.M | re.S)[0].replace("output reg ", "output wire ")
    (tmp_path / "weft.v").write_text(f"{logic}(* blackbox *)\n{macro}endmodule\n")
    script = (FLOWS if name in ("tiny", "4x8") else SHORT_FLOWS)[flow]
    yosys(tmp_path, f"read_verilog weft.v; {script} -top weft; check -assert; select -assert-none t:*LATCH* t:*latch*")
