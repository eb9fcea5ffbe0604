// Every counter is what was added less what was consumed, in [0, 255]; adding takes a cycle. What is consumed leaves it a cycle
// later, and is not available in between. As both take that cycle, a counter overflows if and only if more than 255 tokens were
// added at the ports than consumed there, what happens in the same cycle included. What is available was looked up in the cycle
// before. The thread q is distant: all this is so of its signals a cycle later.
`include "taps.svh"

module harness(input clk, input rst, input [4:0] a_id, input a_valid, input [4:0] b_id, input b_valid, input [4:0] c_id,
               input c_valid, input [4:0] w_id, input w_consume, input [4:0] x_id, input x_consume,
               input [23:0] pc_p, input [23:0] pc_q);
  `TAPS
  reg started = 0;          // the first cycle is a reset
  always @(posedge clk) started <= 1;
  always @* assume(started || rst);

  wire w_available, x_available, overflow;
  wire [23:0] overflow_pc;
  dut dut(.clk(clk), .rst(rst), .signal_a_id(a_id), .signal_a_valid(a_valid), .signal_b_id(b_id),
          .signal_b_valid(b_valid),
          .signal_c_id(c_id), .signal_c_valid(c_valid), .wait_w_id(w_id), .wait_w_available(w_available),
          .wait_w_consume(w_consume), .wait_x_id(x_id), .wait_x_available(x_available), .wait_x_consume(x_consume),
          .pc_p(pc_p), .pc_q(pc_q), .overflow(overflow), .overflow_pc(overflow_pc));

  // A thread consumes what is available, of the counter that it asked about, and names this for another cycle; no counter is
  // consumed through two ports at once.
  reg [4:0] w_asked = 0, x_asked = 0;
  reg w_took = 0, x_took = 0, asked = 0;
  always @(posedge clk) begin
    {w_asked, x_asked, asked} <= {w_id, x_id, !rst};
    {w_took, x_took} <= {w_consume && !rst, x_consume && !rst};
  end
  always @* begin
    if (w_consume) assume(w_available && w_id == w_asked);
    if (x_consume) assume(x_available && x_id == x_asked);
    if (w_took) assume(w_id == w_asked);
    if (x_took) assume(x_id == x_asked);
    if (w_consume && x_consume) assume(w_id == 0 || w_id != x_id);
  end

  // The signal of the distant thread comes here.
  reg c_comes = 0;
  reg [4:0] c_number_in = 0;
  reg [23:0] q_number_in = 0;
  always @(posedge clk) {c_comes, c_number_in, q_number_in} <= {c_valid && !rst, c_id, pc_q};

  // The signals of the last cycle, with the number of the instruction that gave each.
  reg a_given = 0, b_given = 0, c_given = 0;
  reg [4:0] a_last = 0, b_last = 0, c_last = 0;
  reg [23:0] p_last = 0, q_last = 0;
  always @(posedge clk) begin
    a_given <= a_valid && !rst;
    b_given <= b_valid && !rst;
    c_given <= c_comes && !rst;
    {a_last, b_last, c_last, p_last, q_last} <= {a_id, b_id, c_number_in, pc_p, q_number_in};
  end

  // One counter, any one but number 0; with 10 bits nothing wraps.
  (* anyconst *) wire [4:0] n;
  always @* assume(n != 0);
  reg [9:0] count = 0, leaving = 0;
  wire [9:0] added = (a_given && a_last == n) + (b_given && b_last == n) + (c_given && c_last == n);
  wire [9:0] consumed = (w_consume && w_id == n) + (x_consume && x_id == n);
  wire [9:0] next = count + added - leaving;
  wire too_many = next > 255;
  // The same at the ports, without a delay, until something overflows.
  reg [9:0] balance = 0;
  reg [2:0] spoiled = 0;    // cycles since something did
  wire [9:0] given = (a_valid && a_id == n) + (b_valid && b_id == n) + (c_comes && c_number_in == n);
  always @(posedge clk) begin
    leaving <= rst ? 0 : consumed;
    count <= rst ? 0 : next;
    balance <= rst ? 0 : balance + given - consumed;
    spoiled <= rst ? 0 : spoiled + (spoiled != 0 || too_many);
  end
  // An overflow ends the run: the machine resets the counters two cycles after it is told of one.
  always @* assume(spoiled < 6);

  reg [31:0] exceeded, exceeded_before = 0;
  integer i;
  always @* begin
    exceeded[0] = 0;
    for (i = 1; i < 32; i = i + 1) exceeded[i] = counters[9 * i - 1];
  end

  // The cycle before, in which those that overflowed did so, and what was the cycle before in the last cycle, for who is to blame.
  reg a_blamed = 0, b_blamed = 0, c_blamed = 0, a_was = 0, b_was = 0, c_was = 0, overflowed = 0;
  reg [4:0] a_then = 0, b_then = 0, c_then = 0, a_of = 0, b_of = 0, c_of = 0;
  reg [23:0] p_then = 0, q_then = 0, p_of = 0, q_of = 0, p_told = 0, q_told = 0;
  reg told = 0, by_p = 0, by_q = 0;
  always @(posedge clk) begin
    a_blamed <= a_held && !rst;
    b_blamed <= b_held && !rst;
    c_blamed <= c_held && !rst;
    {a_then, b_then, c_then, p_then, q_then} <= {a_last, b_last, c_last, p_last, q_last};
    {a_was, b_was, c_was} <= rst ? 3'b0 : {a_blamed, b_blamed, c_blamed};
    {a_of, b_of, c_of, p_of, q_of} <= {a_then, b_then, c_then, p_then, q_then};
    exceeded_before <= rst ? 0 : exceeded;
    overflowed <= overflow && !rst;
    told <= overflow && !overflowed && !rst;
    by_p <= (a_was && exceeded_before[a_of]) || (b_was && exceeded_before[b_of]);
    by_q <= c_was && exceeded_before[c_of];
    {p_told, q_told} <= {p_of, q_of};
  end

  always @* if (started) begin
    assert(count <= 255 + 3 * spoiled && leaving <= 1 && leaving + consumed <= count);
    // What a thread has just taken of a counter it cannot take again in the next cycle.
    if (asked && w_asked == n) assert(w_available == (count != 0 && !leaving));
    if (asked && x_asked == n) assert(x_available == (count != 0 && !leaving));
    if (asked && w_asked == 0) assert(w_available == !(w_took || (x_took && x_asked == 0)));
    if (asked && x_asked == 0) assert(x_available == !(x_took || (w_took && w_asked == 0)));
    if (!asked) assert(!w_available && !x_available);
    if (spoiled == 0) assert(next == balance && count <= 255);
    if (spoiled == 1) assert(count > 255);
    // A counter that has overflowed is told of, nothing else is, and the instruction named signalled to such a one.
    assert(exceeded[n] == (count > 255));
    assert(overflow == (exceeded_before != 0));
    if (told) begin
      if (by_p) assert(overflow_pc == p_told);
      else if (by_q) assert(overflow_pc == q_told);
    end
    assert(counters[9 * n - 9 +: 9] == count && taken[n] == leaving && several[n - 1] == (count > 1));
    assert(w_left == w_took && x_left == x_took);
    assert(taken == ((w_took ? 32'd1 << w_asked : 32'd0) | (x_took ? 32'd1 << x_asked : 32'd0)));
    // The registers behind the signal ports.
    assert(c_arrived == c_comes && c_number_arrived == c_number_in && q_number_arrived == q_number_in);
    assert(a_held == a_given && b_held == b_given && c_held == c_given);
    if (a_held) assert(a_number == a_last && a_added == 1 << a_last);
    else assert(a_added == 0);
    if (b_held) assert(b_number == b_last && b_added == 1 << b_last);
    else assert(b_added == 0);
    if (c_held) assert(c_number == c_last && c_added == 1 << c_last);
    else assert(c_added == 0);
    if (a_given || b_given) assert(p_number == p_last);
    if (c_given) assert(q_number == q_last);
    assert(a_held_before == a_blamed);
    assert(b_held_before == b_blamed);
    assert(c_held_before == c_blamed);
    if (a_blamed) assert(a_number_before == a_then);
    if (b_blamed) assert(b_number_before == b_then);
    if (c_blamed) assert(c_number_before == c_then);
    if (a_blamed || b_blamed) assert(p_number_before == p_then);
    if (c_blamed) assert(q_number_before == q_then);
    if (a_was || b_was) assert(p_blamed == p_of);
    if (c_was) assert(q_blamed == q_of);
    assert(a_guilty == (a_was && exceeded_before[a_of]));
    assert(b_guilty == (b_was && exceeded_before[b_of]));
    assert(c_guilty == (c_was && exceeded_before[c_of]));
  end
endmodule
