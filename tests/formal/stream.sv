// A part with streams i and o keeps its payloads: what comes out k-th is what went in k-th, nothing else comes out.
// Any payload can be the tracked one, so what holds for it holds for all. The parts never look at a payload, so a width
// of one bit stands for every width.
`include "taps.svh"

module harness(input clk, input rst, input i_valid, input i_payload, input o_ready, input pick);
  `TAPS
  reg started = 0;          // the first cycle is a reset
  always @(posedge clk) started <= 1;
  always @* assume(started || rst);

  wire i_ready, o_valid, o_payload;
  dut dut(.clk(clk), .rst(rst), .i_valid(i_valid), .i_payload(i_payload), .i_ready(i_ready),
          .o_valid(o_valid), .o_payload(o_payload), .o_ready(o_ready));

  wire push = i_valid && i_ready, pop = o_valid && o_ready;
  reg [4:0] held = 0, ahead = 0;      // payloads inside; of these, before the tracked one
  reg tracking = 0, tracked = 0;
  reg refused = 0, offered = 0;
  always @(posedge clk) begin
    held <= held + push - pop;
    if (tracking && pop) begin
      ahead <= ahead - 1;
      tracking <= ahead != 0;
    end
    if (!tracking && push && pick) begin
      tracking <= 1;
      tracked <= i_payload;
      ahead <= held - pop;
    end
    refused <= o_valid && !o_ready;
    offered <= o_payload;
    if (rst) begin
      held <= 0;
      tracking <= 0;
      refused <= 0;
    end
  end

  always @* if (started) begin
    assert(held <= `CAPACITY);
    assert(o_valid == (held != 0));
    assert(i_ready == (`READY));
    if (refused) assert(o_valid && o_payload == offered);
    if (tracking) assert(ahead < held);
    if (tracking && ahead == 0) assert(o_payload == tracked);
  end

  // What is true of the registers, so that the above follows from one cycle to the next.
`ifdef QUEUE
  localparam INDEX = $clog2(`CAPACITY);
  wire [INDEX:0] level = {!queue_ready, INDEX'(write - read)};
  wire [INDEX-1:0] place = read + ahead;
  always @* if (started) begin
    assert(level == held);
    if (tracking) assert(storage[place] == tracked);
  end
`endif
`ifdef SKID_BUFFER
  always @* if (started) begin
    assert(held == o_valid + !i_ready);
    if (tracking && ahead == 1) assert(skid == tracked);
  end
`endif
endmodule
