// The bursts of a segment are the segment: they follow each other without gap from its first beat to its last, each of
// at most 16 beats (its length has 4 bits) within a page, with the segment's mark. Beats of 4 bytes.
`include "taps.svh"

module harness(input clk, input rst, input i_valid, input [113:0] i, input o_ready);
  `TAPS
  reg started = 0;          // the first cycle is a reset
  always @(posedge clk) started <= 1;
  always @* assume(started || rst);

  wire [81:0] o;
  wire i_ready, o_valid;
  dut dut(.clk(clk), .rst(rst), .i_valid(i_valid), .i_payload(i), .i_ready(i_ready),
          .o_valid(o_valid), .o_payload(o), .o_ready(o_ready));

  // Segments have whole beats and at least one of them.
  always @* assume(i[1:0] == 0 && (i[75:40] != 0 || i[76]));

  wire sync = o[44];
  wire [36:0] beats = o[43:40] + 1;
  wire [4:0] semaphore = o[49:45];

  // What has still to come out of the segment that went in: as SEGMENT.
  reg [113:0] left = 0;
  reg held = 0;
  wire ends = sync || beats == left[75:40];
  wire push = i_valid && i_ready, pop = o_valid && o_ready;
  wire [113:0] rest = {left[113:76], left[75:40] - beats[35:0], left[39:0] + 40'(beats << 2)};
  always @(posedge clk) begin
    held <= push || held && !(pop && ends);
    if (pop) left <= rest;
    if (push) left <= i;
    if (rst) held <= 0;
  end

  reg refused = 0;
  reg [81:0] offered = 0;
  always @(posedge clk) begin
    refused <= o_valid && !o_ready && !rst;
    offered <= o;
  end

  always @* if (started) begin
    if (refused) assert(o_valid && o == offered);
    // A segment is taken when none is held, or the last burst of the one that is goes out.
    assert(i_ready == (!held || pop && ends));
    assert(o_valid == held);
    if (o_valid) begin
      assert(sync == left[76] && o[81:50] == left[113:82]);
      assert(semaphore == (ends ? left[81:77] : 0));
      if (!sync) begin
        assert(o[39:0] == left[39:0] && beats <= left[75:40]);
        assert(o[11:2] + beats <= 1024);
      end
    end
    // The register.
    assert(held == valid);
    if (valid) assert(segment == left);
    if (valid) assert(segment[1:0] == 0 && (segment[75:40] != 0 || segment[76]));
    // What is known ahead of the one that goes out next.
    if (valid) assert(room == (segment[11:6] == 63 ? 16 - segment[5:2] : 16));
    if (valid) assert(last == (segment[75:40] <= room || segment[76]));
  end
endmodule
