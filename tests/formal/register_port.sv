// AXI4-Lite slave: one response for each access, after it; one write strobe or one read of the register for each.
`include "taps.svh"

module harness(input clk, input rst, input [11:0] awaddr, input awvalid, input [31:0] wdata, input [3:0] wstrb,
               input wvalid,
               input bready, input [11:0] araddr, input arvalid, input rready, input [31:0] read_data);
  `TAPS
  reg started = 0;          // the first cycle is a reset
  always @(posedge clk) started <= 1;
  always @* assume(started || rst);

  wire awready, wready, bvalid, arready, rvalid, read;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata, write_data;
  wire [3:0] write;
  wire [9:0] write_index, read_index;
  dut dut(.clk(clk), .rst(rst), .axi_awaddr(awaddr), .axi_awprot(3'b0), .axi_awvalid(awvalid), .axi_awready(awready),
          .axi_wdata(wdata), .axi_wstrb(wstrb), .axi_wvalid(wvalid), .axi_wready(wready), .axi_bresp(bresp),
          .axi_bvalid(bvalid), .axi_bready(bready), .axi_araddr(araddr), .axi_arprot(3'b0), .axi_arvalid(arvalid),
          .axi_arready(arready), .axi_rdata(rdata), .axi_rresp(rresp), .axi_rvalid(rvalid), .axi_rready(rready),
          .write(write), .write_index(write_index), .write_data(write_data), .read(read), .read_index(read_index),
          .read_data(read_data));

  // Accesses that have no response yet, and what they asked for; `written`, `sampled`: the register has been accessed.
  reg addresses = 0, datas = 0, reads = 0, written = 0, sampled = 0;
  reg [9:0] to = 0, from = 0;
  reg [31:0] value = 0, found = 0;
  reg [3:0] lanes = 0;
  wire both = addresses && datas;
  always @(posedge clk) begin
    if (awvalid && awready) {addresses, to} <= {1'b1, awaddr[11:2]};
    if (wvalid && wready) {datas, value, lanes} <= {1'b1, wdata, wstrb};
    if (both) written <= 1;
    if (bvalid && bready) {addresses, datas, written} <= 0;
    if (arvalid && arready) {reads, from} <= {1'b1, araddr[11:2]};
    if (reads) sampled <= 1;
    if (read) found <= read_data;
    if (rvalid && rready) {reads, sampled} <= 0;
    if (rst) {addresses, datas, reads, written, sampled} <= 0;
  end

  always @* if (started) begin
    assert(awready == !addresses && wready == !datas && arready == !reads);
    // The access in the cycle after all of it came, once; the response in the next cycle, until it is taken.
    assert(write == (both && !written ? lanes : 0));
    if (write != 0) assert(write_index == to && write_data == value);
    assert(bvalid == written);
    assert(read == (reads && !sampled));
    if (read) assert(read_index == from);
    assert(rvalid == sampled);
    if (rvalid) assert(rdata == found);
    assert(bresp == 0 && rresp == 0);
    // The registers.
    if (written) assert(both);
    if (sampled) assert(reads);
    if (addresses) assert(write_index == to);
    if (datas) assert(write_data == value && strobe == lanes);
    if (reads) assert(read_index == from);
  end
endmodule
