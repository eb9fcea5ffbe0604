// AXI4 read master: every burst requested is one address, and the beats of its data go to the client that asked.
`include "taps.svh"

module harness(input clk, input rst, input stop, input [31:0] base, input arready, input rvalid, input [31:0] rdata,
               input [1:0] rresp, input rlast, input fetch_valid, input load_valid, input [47:0] fetch,
               input [47:0] load,
               input fetch_ready, input load_ready, input pick, input pick_beat);
  `TAPS
  reg started = 0;          // the first cycle is a reset
  always @(posedge clk) started <= 1;
  always @* assume(started || rst);

  wire [31:0] araddr;
  wire [7:0] arlen;
  wire arvalid, rready, fetch_given, load_given, fetch_taken, load_taken, busy;
  wire [33:0] fetch_data, load_data;      // last, error, data
  dut dut(.clk(clk), .rst(rst), .stop(stop), .base(base), .axi_araddr(araddr), .axi_arlen(arlen), .axi_arvalid(arvalid),
          .axi_arready(arready), .axi_rvalid(rvalid), .axi_rdata(rdata), .axi_rresp(rresp), .axi_rlast(rlast),
          .axi_rid(1'b0),
          .axi_rready(rready), .fetch_request_valid(fetch_valid), .fetch_request_payload(fetch),
          .fetch_request_ready(fetch_taken), .load_request_valid(load_valid), .load_request_payload(load),
          .load_request_ready(load_taken), .fetch_data_ready(fetch_ready), .load_data_ready(load_ready),
          .fetch_data_valid(fetch_given), .load_data_valid(load_given), .fetch_data_payload(fetch_data),
          .load_data_payload(load_data), .busy(busy));

  // The base stays and is a page; bursts are as the splitter and the fetch make them: at most 16 beats, within a page.
  (* anyconst *) wire [31:0] constant;
  always @* begin
    assume(base == constant && base[11:0] == 0);
    assume(fetch[47:40] < 16 && fetch[11:2] + fetch[47:40] < 1024);
    assume(load[47:40] < 16 && load[11:2] + load[47:40] < 1024);
  end

  wire by_fetch = fetch_valid && fetch_taken, by_load = load_valid && load_taken && !stop, requested = by_fetch || by_load;
  wire [47:0] request = by_fetch ? fetch : load;
  wire ar = arvalid && arready, r = rvalid && rready;
  wire given = fetch_given || load_given;
  wire out = fetch_given && (fetch_ready || stop) || load_given && (load_ready || stop);
  wire [33:0] arriving = {rlast, rresp != 2'b0, rdata}, beat = fetch_given ? fetch_data : load_data;
  wire out_last = out && beat[33];

  // Bursts requested whose address has not been transferred; those transferred whose last beat has not come; those
  // whose last beat has not gone out. Beats that came and have not gone out.
  reg [4:0] no_ar = 0, no_last = 0, no_end = 0, held = 0;
  reg inside = 0;             // a burst's data has begun to come
  always @(posedge clk) begin
    no_ar <= no_ar + requested - ar;
    no_last <= no_last + ar - (r && rlast);
    no_end <= no_end + requested - out_last;
    held <= held + r - out;
    if (r) inside <= !rlast;
    if (rst) {no_ar, no_last, no_end, held, inside} <= 0;
  end
  // AXI: data follows its address.
  always @* if (rvalid) assume(no_last != 0);

  // One burst, any one, from its request to its address and to its last beat; one beat from R to the client.
  reg watch_ar = 0, watch_data = 0, watch_beat = 0, watched_fetch = 0;
  reg [47:0] watched = 0;
  reg [33:0] watched_beat = 0;
  reg [4:0] before_ar = 0, before_data = 0, before_beat = 0;
  always @(posedge clk) begin
    if (watch_ar && ar) begin
      watch_ar <= before_ar != 0;
      before_ar <= before_ar - 1;
    end
    if (watch_data && out_last) begin
      watch_data <= before_data != 0;
      before_data <= before_data - 1;
    end
    if (watch_beat && out) begin
      watch_beat <= before_beat != 0;
      before_beat <= before_beat - 1;
    end
    if (pick && requested && !watch_ar && !watch_data) begin
      {watch_ar, watch_data, watched, watched_fetch} <= {2'b11, request, by_fetch};
      before_ar <= no_ar - ar;
      before_data <= no_end - out_last;
    end
    if (pick_beat && r && !watch_beat) begin
      {watch_beat, watched_beat} <= {1'b1, arriving};
      before_beat <= held - out;
    end
    if (rst) {watch_ar, watch_data, watch_beat} <= 0;
  end

  // What was offered and refused.
  reg ar_refused = 0, ar_due = 0, fetch_refused = 0, load_refused = 0, fetch_waits = 0;
  reg [31:0] araddr_was = 0;
  reg [7:0] arlen_was = 0;
  reg [33:0] beat_was = 0;
  always @(posedge clk) begin
    ar_refused <= arvalid && !arready && !rst;
    ar_due <= no_ar > ar && !rst;
    fetch_waits <= fetch_valid && !fetch_taken && !rst;
    fetch_refused <= fetch_given && !fetch_ready && !stop && !rst;
    load_refused <= load_given && !load_ready && !stop && !rst;
    {araddr_was, arlen_was, beat_was} <= {araddr, arlen, beat};
  end

  wire room = no_end != `LIMIT && no_ar < 2;
  always @* if (started) begin
    if (ar_refused) assert(arvalid && araddr == araddr_was && arlen == arlen_was);
    if (arvalid) assert(no_ar != 0 && arlen < 16 && araddr[11:2] + arlen < 1024);
    if (watch_ar && before_ar == 0 && arvalid) assert(araddr == 32'(base + watched[39:0]) && arlen == watched[47:40]);
    if (ar_due) assert(arvalid);

    // One client at a time, fetch first unless it asks only now.
    assert(fetch_taken == (room && !stop && (fetch_waits || !load_valid)) && load_taken == (room && !fetch_waits));
    assert(!(by_fetch && by_load));
    assert(no_end <= `LIMIT && no_last <= `LIMIT && no_ar + no_last <= no_end);
    assert(busy == (no_end != 0));

    // A beat is accepted while there is room, and every one goes out once and in order, to the client of its burst.
    assert(rready == (held < 2));
    assert(given == (held != 0) && !(fetch_given && load_given));
    if (given) assert(no_end != 0);
    if (watch_data && before_data == 0 && given) assert(fetch_given == watched_fetch);
    if (watch_beat && before_beat == 0) assert(beat == watched_beat);
    if (fetch_refused) assert(fetch_given && beat == beat_was);
    if (load_refused) assert(load_given && beat == beat_was);
  end

  // The registers.
  localparam INDEX = $clog2(`LIMIT);
  wire [INDEX:0] level = {!queue_ready, INDEX'(write - read)};
  wire [INDEX-1:0] place = read + before_data;
  always @* if (started) begin
    assert(no_ar == arvalid + !addresses_ready && no_end == level && waited == fetch_waits);
    if (!addresses_ready) assert(arvalid && next_address[39:32] < 16 && next_address[11:2] + next_address[39:32] < 1024);
    if (watch_ar && before_ar == 1) assert(next_address == {watched[47:40], 32'(base + watched[39:0])});
    assert(queue_valid == (level != 0) && level <= `LIMIT);
    assert(held == arrived_valid + !rready);
    assert(no_end == no_ar + no_last + (arrived_valid && arrived[33]) + (!rready && skid[33]));
    if (arrived_valid) assert(inside == !(rready ? arrived[33] : skid[33]));
    if (inside) assert(no_last != 0);
    if (watch_ar) assert(before_ar < no_ar);
    if (watch_data) assert(before_data < no_end && storage[place] == watched_fetch);
    if (watch_beat) assert(before_beat < held);
    if (watch_beat && before_beat == 1) assert(skid == watched_beat);
  end
endmodule
