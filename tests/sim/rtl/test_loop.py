"""The C++ loop around a small AXI master that obeys, or breaks one rule of the bus."""

import ctypes

import numpy as np
import pytest

import weft.sim.rtl.library as library
from weft.sim.verilator import build_library

# Copies four beats from base to base + 0x100 when register 0 is written, breaking the rule whose number was written.
MASTER = """
module weft(input clk, input rst, output reg irq,
  output reg [31:0] m_axi_araddr, output [7:0] m_axi_arlen, output [2:0] m_axi_arsize, output [1:0] m_axi_arburst,
  output reg m_axi_arvalid, input m_axi_arready,
  input m_axi_rid, input [31:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast, input m_axi_rvalid,
  output m_axi_rready,
  output reg [31:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize, output [1:0] m_axi_awburst,
  output reg m_axi_awvalid, input m_axi_awready,
  output [31:0] m_axi_wdata, output [3:0] m_axi_wstrb, output m_axi_wlast, output m_axi_wvalid, input m_axi_wready,
  input m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
  input [11:0] s_axi_awaddr, input s_axi_awvalid, output s_axi_awready,
  input [31:0] s_axi_wdata, input [3:0] s_axi_wstrb, input s_axi_wvalid, output s_axi_wready,
  output reg s_axi_bvalid, input s_axi_bready,
  input [11:0] s_axi_araddr, input s_axi_arvalid, output s_axi_arready,
  output reg [31:0] s_axi_rdata, output reg s_axi_rvalid, input s_axi_rready);
  reg [31:0] rule, waited;
  reg [31:0] data [0:3];
  reg [2:0] got, sent;
  reg writing, failed;
  assign m_axi_arlen = 3; assign m_axi_arsize = rule == 6 ? 1 : 2; assign m_axi_arburst = 1; assign m_axi_rready = 1;
  assign m_axi_awlen = 3; assign m_axi_awsize = 2; assign m_axi_awburst = 1; assign m_axi_bready = 1;
  assign m_axi_wvalid = writing; assign m_axi_wdata = data[sent[1:0]]; assign m_axi_wstrb = rule == 7 ? 4'b0110 : 15;
  assign m_axi_wlast = rule == 5 ? sent == 1 : sent == 3;
  assign s_axi_awready = 1; assign s_axi_wready = 1; assign s_axi_arready = 1;
  always @(posedge clk) begin
    if (rst) begin
      irq <= 0; m_axi_arvalid <= 0; m_axi_awvalid <= 0; writing <= 0; got <= 0; sent <= 0; rule <= 0; waited <= 0;
      s_axi_bvalid <= 0; s_axi_rvalid <= 0; failed <= 0;
    end else begin
      s_axi_bvalid <= s_axi_wvalid | (s_axi_bvalid & ~s_axi_bready);
      s_axi_rvalid <= s_axi_arvalid | (s_axi_rvalid & ~s_axi_rready);
      s_axi_rdata <= s_axi_araddr == 0 ? waited : {31'b0, failed};
      if (s_axi_wvalid) begin
        rule <= s_axi_wdata;
        m_axi_arvalid <= s_axi_wdata != 8;
        m_axi_araddr <= s_axi_wdata == 3 ? 32'h40000ff8 : s_axi_wdata == 9 ? 32'h50000000 : 32'h40000000;
      end
      if (m_axi_arvalid & ~m_axi_arready & rule == 2) m_axi_araddr <= m_axi_araddr + 16;
      if (m_axi_arvalid & m_axi_arready) m_axi_arvalid <= 0;
      if (rule != 0 & got == 0) waited <= waited + 1;
      if (m_axi_rvalid) begin
        data[got[1:0]] <= m_axi_rdata; got <= got + 1; failed <= failed | m_axi_rresp != 0;
        if (m_axi_rlast) begin
          m_axi_awvalid <= 1; m_axi_awaddr <= rule == 4 ? 32'h40000200 : 32'h40000100; writing <= 1;
        end
      end
      if (m_axi_awvalid & m_axi_awready) m_axi_awvalid <= 0;
      if (writing & m_axi_wready) begin sent <= sent + 1; if (sent == 3) writing <= 0; end
      if (m_axi_bvalid) begin irq <= 1; failed <= failed | m_axi_bresp != 0; end
    end
  end
endmodule
"""
BASE = 0x4000_0000


@pytest.fixture(scope="module")
def functions():
    path = build_library({"weft.v": MASTER}, "weft", [library._LOOP], optimize="build", include=[library._SIMULATION])
    return library._load(path)


@pytest.fixture
def simulate(functions):
    """``simulate(rule, stress, seed, errors)``: (status, message, memory, read(offset))."""
    handles = []

    def run(rule, stress=False, seed=0, errors=None):
        handle = functions.weft_new()
        memory = np.arange(8192, dtype=np.uint32).view(np.uint8)[:8192].copy()
        handles.append((handle, memory))
        functions.weft_memory(handle, memory.ctypes.data, memory.size, BASE)
        functions.weft_writable(handle, 0x100, 0x110)
        functions.weft_configure(handle, int(stress), seed, 64, 16)
        if errors:
            functions.weft_errors(handle, *errors)
        functions.weft_reset(handle)
        functions.weft_write(handle, 0, rule)
        status = functions.weft_run(handle, 3000, 2000)
        return status, functions.weft_message(handle).decode(), memory, lambda at: functions.weft_read(handle, at), handle

    yield run
    for handle, _ in handles:
        functions.weft_delete(handle)


def test_copies(simulate, functions):
    status, message, memory, read, handle = simulate(1)
    assert (status, message) == (1, "")
    assert memory[0x100:0x110].view("<u4").tolist() == [0, 1, 2, 3]
    # 64 cycles from the accepted address to the first beat.
    assert 64 <= read(0) <= 67
    assert functions.weft_log_size(handle) == 4
    addresses = np.ctypeslib.as_array(ctypes.cast(functions.weft_log_addresses(handle), ctypes.POINTER(ctypes.c_uint64)), (4,))
    assert addresses.tolist() == [0x100, 0x104, 0x108, 0x10C]


@pytest.mark.parametrize("seed", range(8))
def test_copies_under_stress(simulate, seed):
    status, message, memory, _, _ = simulate(1, stress=True, seed=seed)
    assert (status, message) == (1, "")
    assert memory[0x100:0x110].view("<u4").tolist() == [0, 1, 2, 3]


def test_strobes(simulate):
    _, _, memory, _, _ = simulate(7)
    assert memory[0x100:0x104].tolist() == [64, 0, 0, 0]


@pytest.mark.parametrize("rule, message", [
    (3, "crosses a 4 KiB boundary"), (4, "offset 0x200 is written, which lies in no output or work buffer"),
    (5, "has wlast at beat 2"), (6, "has beats of another size"), (9, "lies outside the program's memory")])
def test_broken_rules(simulate, rule, message):
    status, found, _, _, _ = simulate(rule)
    assert status == 2
    assert message in found


def test_changing_address_is_seen_under_back_pressure(simulate):
    found = [simulate(2, stress=True, seed=seed)[1] for seed in range(8)]
    assert any("read address channel changed while it waited" in message for message in found)


def test_error_responses(simulate):
    status, message, memory, read, _ = simulate(1, errors=(0, 16))
    assert (status, message, read(4)) == (1, "", 1)
    status, message, memory, read, _ = simulate(1, errors=(0x100, 0x104))
    assert (status, read(4)) == (1, 1)
    assert memory[0x100:0x110].view("<u4").tolist() == [64, 65, 66, 67]


def test_rest_is_noticed(simulate, functions):
    status, _, _, _, handle = simulate(8)
    assert status == 0
    assert functions.weft_idle(handle) > 2000
