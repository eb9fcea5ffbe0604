// Multipliers of an ECP5's LUTs, for yosys' techmap: trees of adders of carry cells (CCU2C) whose tables also have the AND gates of
// the partial products, two rows of them in the first adder. A multiplier of N by M bits is about N * M LUTs.
//
// A half of CCU2C adds what its table gives to the carry, and passes the carry on where that is one, else the table's
// entry of the same A and B with C and D zero.

(* techmap_celltype = "$mul" *)
module multiplier (A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  parameter [A_WIDTH-1:0] _TECHMAP_CONSTMSK_A_ = 0;
  parameter [A_WIDTH-1:0] _TECHMAP_CONSTVAL_A_ = 0;
  parameter [B_WIDTH-1:0] _TECHMAP_CONSTMSK_B_ = 0;
  parameter [B_WIDTH-1:0] _TECHMAP_CONSTVAL_B_ = 0;
  (* force_downto *)
  input [A_WIDTH-1:0] A;
  (* force_downto *)
  input [B_WIDTH-1:0] B;
  (* force_downto *)
  output [Y_WIDTH-1:0] Y;

  localparam BOTH = A_SIGNED && B_SIGNED;

`ifdef CONSTANTS
  // Only a factor that is constant, and not negative: the sum of the other's multiples by powers of two, in adders that yosys maps.
  localparam OF_A = &_TECHMAP_CONSTMSK_A_;
  localparam WIDTH = OF_A ? A_WIDTH : B_WIDTH;
  localparam [WIDTH-1:0] FACTOR = OF_A ? _TECHMAP_CONSTVAL_A_ : _TECHMAP_CONSTVAL_B_;
  wire _TECHMAP_FAIL_ = !OF_A && !(&_TECHMAP_CONSTMSK_B_) || BOTH && FACTOR[WIDTH-1];

  wire [Y_WIDTH-1:0] other;
  wire [Y_WIDTH*(WIDTH+1)-1:0] sums;
  genvar n;
  generate
    if (OF_A && BOTH)
      assign other = $signed(B);
    else if (OF_A)
      assign other = B;
    else if (BOTH)
      assign other = $signed(A);
    else
      assign other = A;
    for (n = 0; n < WIDTH; n = n + 1) begin : bits
      if (!FACTOR[n])
        assign sums[Y_WIDTH*(n+1) +: Y_WIDTH] = sums[Y_WIDTH*n +: Y_WIDTH];
      else
        assign sums[Y_WIDTH*(n+1) +: Y_WIDTH] = sums[Y_WIDTH*n +: Y_WIDTH] + (other << n);
    end
  endgenerate
  assign sums[Y_WIDTH-1:0] = 0;
  assign Y = sums[Y_WIDTH*WIDTH +: Y_WIDTH];
`else
  // Zeros above an operand count neither as rows nor as columns; the rows are the bits of the narrower operand.
  function integer zeros_above;
    input integer width;
    input [1023:0] zero;
    begin
      zeros_above = 0;
      while (zeros_above < width - 1 && zero[width - 1 - zeros_above])
        zeros_above = zeros_above + 1;
    end
  endfunction

  localparam A_SPARE = zeros_above(A_WIDTH, _TECHMAP_CONSTMSK_A_ & ~_TECHMAP_CONSTVAL_A_);
  localparam B_SPARE = zeros_above(B_WIDTH, _TECHMAP_CONSTMSK_B_ & ~_TECHMAP_CONSTVAL_B_);
  localparam A_BITS = A_WIDTH - A_SPARE, B_BITS = B_WIDTH - B_SPARE;
  localparam A_MINUS = BOTH && A_SPARE == 0, B_MINUS = BOTH && B_SPARE == 0;

  wire [A_BITS+B_BITS-1:0] product;
  generate
    if (A_BITS < B_BITS) begin
      \$__soft_product #(.COLUMNS(B_BITS), .COLUMNS_SIGNED(B_MINUS), .ROWS(A_BITS), .ROWS_SIGNED(A_MINUS))
        tree (.X(B[B_BITS-1:0]), .Y(A[A_BITS-1:0]), .P(product));
    end else begin
      \$__soft_product #(.COLUMNS(A_BITS), .COLUMNS_SIGNED(A_MINUS), .ROWS(B_BITS), .ROWS_SIGNED(B_MINUS))
        tree (.X(A[A_BITS-1:0]), .Y(B[B_BITS-1:0]), .P(product));
    end
    if (A_MINUS || B_MINUS)
      assign Y = $signed(product);
    else
      assign Y = product;
  endgenerate
`endif
endmodule

// P = X * Y. The lower rows are a power of two, so that the tree is as low as it can be; a row that is left over alone has its AND
// gates in the adder that takes it in. A signed Y has a top row that is subtracted.
(* techmap_celltype = "$__soft_product" *)
module soft_product (X, Y, P);
  parameter COLUMNS = 1;
  parameter COLUMNS_SIGNED = 0;
  parameter ROWS = 1;
  parameter ROWS_SIGNED = 0;
  input [COLUMNS-1:0] X;
  input [ROWS-1:0] Y;
  output [COLUMNS+ROWS-1:0] P;

  function integer half_of;
    input integer rows;
    begin
      half_of = 1;
      while (2 * half_of < rows)
        half_of = 2 * half_of;
    end
  endfunction

  localparam LOW = half_of(ROWS), HIGH = ROWS - LOW;

  generate
    if (ROWS == 1) begin
      wire [COLUMNS:0] row;
      if (COLUMNS_SIGNED)
        assign row = $signed(X & {COLUMNS{Y[0]}});
      else
        assign row = X & {COLUMNS{Y[0]}};
      assign P = ROWS_SIGNED ? -row : row;
    end else begin
      wire [COLUMNS+HIGH-1:0] sum;
      if (ROWS == 2) begin
        \$__soft_sum #(.WIDTH(COLUMNS + 1), .AB_WIDTH(COLUMNS), .AB_SIGNED(COLUMNS_SIGNED), .AB_MINUS(ROWS_SIGNED),
          .CD_WIDTH(COLUMNS - 1), .CD_SIGNED(COLUMNS_SIGNED))
          rows (.A(X), .B(Y[1]), .C(X[COLUMNS-1:1]), .D(Y[0]), .S(sum));
        assign P = {sum, X[0] & Y[0]};
      end else begin
        wire [COLUMNS+LOW-1:0] low;
        \$__soft_product #(.COLUMNS(COLUMNS), .COLUMNS_SIGNED(COLUMNS_SIGNED), .ROWS(LOW), .ROWS_SIGNED(0))
          below (.X(X), .Y(Y[LOW-1:0]), .P(low));
        if (HIGH == 1) begin
          \$__soft_sum #(.WIDTH(COLUMNS + 1), .AB_WIDTH(COLUMNS), .AB_SIGNED(COLUMNS_SIGNED), .AB_MINUS(ROWS_SIGNED),
            .CD_WIDTH(COLUMNS), .CD_SIGNED(COLUMNS_SIGNED))
            rows (.A(X), .B(Y[LOW]), .C(low[COLUMNS+LOW-1:LOW]), .D(1'b1), .S(sum));
        end else begin
          wire [COLUMNS+HIGH-1:0] high;
          \$__soft_product #(.COLUMNS(COLUMNS), .COLUMNS_SIGNED(COLUMNS_SIGNED), .ROWS(HIGH), .ROWS_SIGNED(ROWS_SIGNED))
            above (.X(X), .Y(Y[ROWS-1:LOW]), .P(high));
          \$__soft_sum #(.WIDTH(COLUMNS + HIGH), .AB_WIDTH(COLUMNS + HIGH), .CD_WIDTH(COLUMNS), .CD_SIGNED(COLUMNS_SIGNED))
            rows (.A(high), .B(1'b1), .C(low[COLUMNS+LOW-1:LOW]), .D(1'b1), .S(sum));
        end
        assign P = {sum, low[LOW-1:0]};
      end
    end
  endgenerate
endmodule

// S = (C, where D) + (A, where B), or minus that. What is inverted for it is A & B, since of A and B alone the carry is made.
(* techmap_celltype = "$__soft_sum" *)
module soft_sum (A, B, C, D, S);
  parameter WIDTH = 1;
  parameter AB_WIDTH = 1;
  parameter AB_SIGNED = 0;
  parameter AB_MINUS = 0;
  parameter CD_WIDTH = 1;
  parameter CD_SIGNED = 0;
  input [AB_WIDTH-1:0] A;
  input B;
  input [CD_WIDTH-1:0] C;
  input D;
  output [WIDTH-1:0] S;

  localparam PAIRS = (WIDTH + 1) / 2;
  localparam [15:0] TABLE = AB_MINUS ? 16'h8777 : 16'h7888;
  wire [WIDTH-1:0] left, right;
  // An odd width has the top bits twice, which takes no wire from a zero; what comes of them is not read.
  wire [2*PAIRS-1:0] first = $signed(left), second = $signed(right), result;
  wire [PAIRS:0] carry;
  genvar n;
  generate
    if (AB_SIGNED)
      assign left = $signed(A);
    else
      assign left = A;
    if (CD_SIGNED)
      assign right = $signed(C);
    else
      assign right = C;
    for (n = 0; n < PAIRS; n = n + 1) begin : pair
      CCU2C #(.INIT0(TABLE), .INIT1(TABLE), .INJECT1_0("NO"), .INJECT1_1("NO")) bits (
        .CIN(carry[n]), .COUT(carry[n+1]),
        .A0(first[2*n]), .B0(B), .C0(second[2*n]), .D0(D), .S0(result[2*n]),
        .A1(first[2*n+1]), .B1(B), .C1(second[2*n+1]), .D1(D), .S1(result[2*n+1]));
    end
  endgenerate
  assign carry[0] = AB_MINUS;
  assign S = result[WIDTH-1:0];
endmodule
