// AXI4 write master: every burst requested is one address and length + 1 beats, in order, and counts until its
// response.
`include "taps.svh"

module harness(input clk, input rst, input stop, input [31:0] base, input awready, input wready, input bvalid,
               input [1:0] bresp, input request_valid, input [47:0] request, input data_valid, input [31:0] data,
               input response_ready, input pick);
  `TAPS
  reg started = 0;          // the first cycle is a reset
  always @(posedge clk) started <= 1;
  always @* assume(started || rst);

  wire [31:0] awaddr, wdata;
  wire [7:0] awlen;
  wire [3:0] wstrb;
  wire awvalid, wvalid, wlast, bready, request_ready, data_ready, response, response_valid, busy;
  dut dut(.clk(clk), .rst(rst), .stop(stop), .base(base), .axi_awaddr(awaddr), .axi_awlen(awlen), .axi_awvalid(awvalid),
          .axi_awready(awready), .axi_wvalid(wvalid), .axi_wdata(wdata), .axi_wstrb(wstrb), .axi_wlast(wlast),
          .axi_wready(wready), .axi_bvalid(bvalid), .axi_bresp(bresp), .axi_bid(1'b0), .axi_bready(bready),
          .request_valid(request_valid), .request_payload(request), .request_ready(request_ready),
          .data_valid(data_valid), .data_payload(data), .data_ready(data_ready), .response_valid(response_valid),
          .response_payload(response), .response_ready(response_ready), .busy(busy));

  // The base stays and is a page; bursts are as the splitter makes them: at most 16 beats, within a page.
  (* anyconst *) wire [31:0] constant;
  always @* begin
    assume(base == constant && base[11:0] == 0);
    assume(request[47:40] < 16 && request[11:2] + request[47:40] < 1024);
  end

  wire requested = request_valid && request_ready && !stop, aw = awvalid && awready, w = wvalid && wready, b = bvalid && bready;

  // Of the bursts requested: those whose address, last beat, response has not been transferred.
  reg [4:0] no_aw = 0, no_last = 0, no_b = 0;
  reg [7:0] beat = 0;         // of the current burst, transferred
  always @(posedge clk) begin
    no_aw <= no_aw + requested - aw;
    no_last <= no_last + requested - (w && wlast);
    no_b <= no_b + requested - b;
    if (w) beat <= wlast ? 0 : beat + 1;
    if (rst) {no_aw, no_last, no_b, beat} <= 0;
  end
  // AXI: a response follows its address and its last beat.
  always @* if (bvalid) assume(no_b > no_aw && no_b > no_last);

  // One burst, any one, from its request to its address and to its last beat.
  reg watch_aw = 0, watch_w = 0;
  reg [47:0] watched = 0;
  reg [4:0] before_aw = 0, before_w = 0;
  always @(posedge clk) begin
    if (watch_aw && aw) begin
      watch_aw <= before_aw != 0;
      before_aw <= before_aw - 1;
    end
    if (watch_w && w && wlast) begin
      watch_w <= before_w != 0;
      before_w <= before_w - 1;
    end
    if (pick && requested && !watch_aw && !watch_w) begin
      {watch_aw, watch_w, watched} <= {2'b11, request};
      before_aw <= no_aw - aw;
      before_w <= no_last - (w && wlast);
    end
    if (rst) {watch_aw, watch_w} <= 0;
  end

  // What was offered and refused; what the beat on W was made from.
  reg aw_refused = 0, w_refused = 0, aw_due = 0, w_due = 0, taken = 0, stopped = 0;
  reg [31:0] awaddr_was = 0, wdata_was = 0, value = 0;
  reg [7:0] awlen_was = 0;
  reg [4:0] w_was = 0;
  always @(posedge clk) begin
    aw_refused <= awvalid && !awready && !rst;
    w_refused <= wvalid && !wready && !rst;
    {awaddr_was, awlen_was, wdata_was, w_was} <= {awaddr, awlen, wdata, wstrb, wlast};
    aw_due <= no_aw > aw && !rst;
    w_due <= stop && no_last > (wvalid && wlast) && !rst;
    if (!wvalid || wready) stopped <= stop;
    if (w) taken <= 0;
    if (data_valid && data_ready) {taken, value} <= {1'b1, data};
    if (rst) taken <= 0;
  end

  always @* if (started) begin
    if (aw_refused) assert(awvalid && awaddr == awaddr_was && awlen == awlen_was);
    if (w_refused) assert(wvalid && wdata == wdata_was && {wstrb, wlast} == w_was);

    if (awvalid) assert(no_aw != 0 && awlen < 16 && awaddr[11:2] + awlen < 1024);
    if (watch_aw && before_aw == 0 && awvalid) assert(awaddr == 32'(base + watched[39:0]) && awlen == watched[47:40]);
    if (aw_due) assert(awvalid);

    if (wvalid) assert(no_last != 0);
    if (watch_w && before_w == 0 && wvalid) assert(beat <= watched[47:40] && wlast == (beat == watched[47:40]));
    // Every beat taken goes out once, and only with `stop` are there others, which write nothing.
    assert(taken == (wvalid && wstrb == 4'hf));
    if (taken) assert(wdata == value);
    if (wvalid) assert(wstrb == (stopped ? 4'h0 : 4'hf));
    assert(data_ready == (!stop && no_last > (wvalid && wlast) && (!wvalid || wready)));
    if (w_due) assert(wvalid);

    assert(no_b <= `LIMIT);
    assert(request_ready == (no_b != `LIMIT && no_aw < 2));
    assert(busy == (no_b != 0));
    assert(bready == (response_ready || stop));
    assert(response_valid == bvalid && response == (bresp != 0));
  end

  // The registers.
  localparam INDEX = $clog2(`LIMIT);
  wire [INDEX:0] level = {!queue_ready, INDEX'(write - read)};
  wire after = wvalid && wlast;       // the burst on W is not in the queue any more
  wire [INDEX-1:0] place = read + before_w - after;
  always @* if (started) begin
    assert(in_flight == no_b && no_aw <= no_b && no_last <= no_b);
    assert(no_aw == awvalid + !addresses_ready && no_last == level + after);
    if (!addresses_ready) assert(awvalid && next_address[39:32] < 16 && next_address[11:2] + next_address[39:32] < 1024);
    if (watch_aw && before_aw == 1) assert(next_address == {watched[47:40], 32'(base + watched[39:0])});
    assert(queue_valid == (level != 0) && level <= `LIMIT);
    if (watch_aw) assert(before_aw < no_aw);

    if (watch_w) assert(before_w < no_last);
    if (watch_w && before_w >= after) assert(storage[8 * place +: 8] == watched[47:40]);
    if (wvalid && !wlast) assert(level != 0);
    if (level == 0) assert(position == 0);
    assert(position == (after ? 0 : 8'(beat + wvalid)));
    if (watch_w && before_w == 0 && !after) assert(position <= watched[47:40] && beat + wvalid <= watched[47:40]);
  end
endmodule
