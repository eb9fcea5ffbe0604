"""Registers in the generated Verilog: next values stand in the clocked block, and only where nothing else reads them."""

import re

import pytest

from weft.hw import verilog
from weft.hw.clocked import join_registers

HEAD = """\
module m(clk, en, a, b, q, r, s, y);
  reg at_start = 0;
  wire [8:0] _0_;
  wire en;
  wire [7:0] a;
  wire [7:0] b;
  reg [7:0] q = 8'h00;
  reg [7:0] q_next;
  reg [7:0] r = 8'h00;
  wire [7:0] r_next;
  reg [7:0] s = 8'h00;
  wire [7:0] y;
"""
COPIES = """\
  always @(posedge clk)
    q <= q_next;
  always @(posedge clk)
    r <= r_next;
  always @(posedge clk)
    s <= _0_[7:0];
  assign r_next = a & b;
"""
BLOCK = """\
  always @* begin
    if (at_start) begin end
    q_next = q;
    if (en) begin
      casez (a)
        8'h01:
            q_next[3:0] = b[3:0];
      endcase
      { q_next[7], q_next[4] } = 2'h0;
    end
  end
"""
SUM = "  assign _0_ = $signed(a) + $signed(b);\n"


def module(*parts):
    return HEAD + "".join(parts) + "endmodule\n"


def test_next_values_move_into_clocked_blocks():
    text = join_registers(module(COPIES, SUM, BLOCK))
    assert "_next" not in text and "always @*" not in text and "at_start" not in text and "_0_" not in text
    assert """\
  always @(posedge clk) begin
    if (en) begin
      casez (a)
        8'h01:
            q[3:0] <= b[3:0];
      endcase
      { q[7], q[4] } <= 2'h0;
    end
  end
""" in text
    assert "  always @(posedge clk)\n    r <= a & b;\n" in text
    # The register's width cuts the sum, as the slice did.
    assert "  always @(posedge clk)\n    s <= $signed(a) + $signed(b);\n" in text


@pytest.mark.parametrize(("change", "kept"), [
    (lambda text: text.replace("endmodule", "  assign y = q_next;\nendmodule"), "q <= q_next;"),
    (lambda text: text.replace("endmodule", "  assign y = r_next;\nendmodule"), "r <= r_next;"),
    (lambda text: text.replace("endmodule", "  assign y = _0_[8:1];\nendmodule"), "s <= _0_[7:0];"),
    # A block that reads what it assigned.
    (lambda text: text.replace("2'h0;", "q_next[1:0];"), "q <= q_next;"),
    # High bits of these operands come down.
    (lambda text: text.replace("$signed(a) + $signed(b)", "_0_ >> b"), "s <= _0_[7:0];"),
    (lambda text: text.replace("reg [7:0] q_next", "reg [8:0] q_next"), "q <= q_next;"),
])
def test_values_that_are_needed_stay(change, kept):
    text = change(module(COPIES, SUM, BLOCK))
    assert kept in text and kept in join_registers(text)


def test_blocks_without_a_register_stay():
    block = BLOCK.replace("q_next", "y")
    assert block in join_registers(module(COPIES.replace("    q <= q_next;", "    q <= y;"), SUM, block))


def test_generated_registers():
    text = verilog.to_verilog("tiny")
    # Few next values are read elsewhere or cut from something wider.
    assert len(re.findall(r"^    \w+ <= \w+_next(?:\[[\d:]+\])?;$", text, re.M)) < 20
    assert len(re.findall(r"^  always @\(posedge clk\) begin$", text, re.M)) > 300
