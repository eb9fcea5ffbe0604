// Two memories of one shape under the same random accesses; what a read of a word being written gives is not compared.
module pair #(parameter WIDTH = 8, DEPTH = 4, LANE = 8, ADDRESS_BITS = 2) (input wire clk, output reg bad, output reg seen);
    reg write_enable, read_enable, known;
    reg [ADDRESS_BITS-1:0] write_address, read_address;
    reg [WIDTH-1:0] write_data;
    reg [WIDTH/LANE-1:0] write_mask;
    wire [WIDTH-1:0] wanted, given;
    integer n;

    plain_memory #(.WIDTH(WIDTH), .DEPTH(DEPTH), .LANE(LANE), .ADDRESS_BITS(ADDRESS_BITS)) plain (
        .clk(clk), .write_enable(write_enable), .write_address(write_address), .write_data(write_data),
        .write_mask(write_mask), .read_enable(read_enable), .read_address(read_address), .read_data(wanted));
    weft_memory #(.WIDTH(WIDTH), .DEPTH(DEPTH), .LANE(LANE), .ADDRESS_BITS(ADDRESS_BITS)) wrapped (
        .clk(clk), .write_enable(write_enable), .write_address(write_address), .write_data(write_data),
        .write_mask(write_mask), .read_enable(read_enable), .read_address(read_address), .read_data(given));

    initial begin bad = 0; seen = 0; write_enable = 0; read_enable = 0; known = 0; end
    always @(negedge clk) begin
        if (known && given !== wanted) bad = 1;
        if (known && ^given !== 1'bx && given != 0) seen = 1;
        write_enable = $random;
        // Few addresses, so that what was written is read; the last ones among them.
        write_address = DEPTH - 1 - ($random & 3);
        for (n = 0; n < WIDTH; n = n + 32) write_data = (write_data << 32) | ($random & 32'hffffffff);
        write_mask = $random;
        read_address = DEPTH - 1 - ($random & 3);
        read_enable = $random;
        if (write_enable && write_address == read_address) read_enable = 0;
        known = known | read_enable;
    end
endmodule

module bench;
    reg clk = 0;
    wire [PAIRS-1:0] bad, seen;
/* pairs */
    initial begin
        repeat (1000) begin #1 clk = 1; #1 clk = 0; end
        if (bad == 0) $display("equal"); else $display("differ %b", bad);
        $display("%b", seen);
    end
endmodule
