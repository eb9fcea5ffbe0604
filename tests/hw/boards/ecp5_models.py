"""Simulation models of the two ECP5 cells that yosys has as black boxes: block RAM and multiplier.

After Lattice's data sheet FPGA-DS-02012, memory guide FPGA-TN-02204 and sysDSP guide FPGA-TN-02205, as far as Weft uses them:
one port of a block of RAM writes and the other reads, without registers behind; a multiplier's registers have one clock and no
reset. Whatever else is asked for stops the simulation.
"""

__all__ = ["models"]


def _bits(prefix, count, direction):
    return ", ".join(f"{direction} {prefix}{n}" for n in range(count))


def _vector(prefix, count):
    return "{" + ", ".join(f"{prefix}{n}" for n in range(count - 1, -1, -1)) + "}"


def _dp16kd():
    ports = []
    for side in "AB":
        ports += [_bits(f"DI{side}", 18, "input"), _bits(f"AD{side}", 14, "input"), _bits(f"CS{side}", 3, "input"),
                  ", ".join(f"input {name}{side}" for name in ("CE", "OCE", "CLK", "WE", "RST")),
                  _bits(f"DO{side}", 18, "output")]
    initial = [f"INITVAL_{n:02X}" for n in range(64)]
    text = ["module DP16KD (", ",\n  ".join(ports), ");", "parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;"]
    for side in "AB":
        text += [f'parameter {name}_{side} = "{value}";' for name, value in (
            ("REGMODE", "NOREG"), ("CSDECODE", "0b000"), ("WRITEMODE", "NORMAL"))]
        text += [f'parameter CLK{side}MUX = "CLK{side}";']
    text += ['parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";']
    text += [f"parameter [319:0] {name} = 320'd0;" for name in initial]
    text += ["reg [17:0] rows [0:1023];", "integer n;", "initial begin"]
    text += [f"for (n = 0; n < 16; n = n + 1) rows[{16 * place} + n] = {name}[20 * n +: 18];"
             for place, name in enumerate(initial)]
    text += ['if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")',
             '$fatal(1, "a mode of DP16KD that has no model");', "end"]
    for side in "AB":
        text += [f"wire [13:0] address_{side} = {_vector(f'AD{side}', 14)};",
                 f"wire [17:0] data_{side} = {_vector(f'DI{side}', 18)};", f"reg [35:0] read_{side};"]
    text += [f"assign {_vector('DOB', 18)} = DATA_WIDTH_B == 36 ? read_B[35:18] : read_B[17:0];",
             f"assign {_vector('DOA', 18)} = DATA_WIDTH_B == 36 ? read_B[17:0] : read_A[17:0];",
             "wire [35:0] wide = {data_B, data_A};"]
    for side in "AB":
        at, width = f"address_{side}", f"DATA_WIDTH_{side}"
        text.append(f"""
always @(posedge CLK{side}) begin
  if (CE{side} && (!WE{side} || WRITEMODE_{side} == "READBEFOREWRITE")) case ({width})
    36: read_{side} <= {{rows[{{{at}[13:5], 1'b1}}], rows[{{{at}[13:5], 1'b0}}]}};
    18: read_{side}[17:0] <= rows[{at}[13:4]];
    9: read_{side}[8:0] <= rows[{at}[13:4]][9 * {at}[3] +: 9];
    4: read_{side}[3:0] <= rows[{at}[13:4]][9 * {at}[3] + 4 * {at}[2] +: 4];
    2: read_{side}[1:0] <= rows[{at}[13:4]][9 * {at}[3] + 2 * {at}[2:1] +: 2];
    default: read_{side}[0] <= rows[{at}[13:4]][9 * {at}[3] + {at}[2:0]];
  endcase
  if (RST{side}) read_{side} <= 0;
  if (RST{side} && RESETMODE != "SYNC") $fatal(1, "an asynchronous reset, which has no model");
  if (CE{side} && WE{side}) case ({width})
    36: for (n = 0; n < 4; n = n + 1) if ({at}[n]) rows[{{{at}[13:5], n[1]}}][9 * n[0] +: 9] <= wide[9 * n +: 9];
    18: for (n = 0; n < 2; n = n + 1) if ({at}[n]) rows[{at}[13:4]][9 * n +: 9] <= data_{side}[9 * n +: 9];
    9: rows[{at}[13:4]][9 * {at}[3] +: 9] <= data_{side}[8:0];
    4: rows[{at}[13:4]][9 * {at}[3] + 4 * {at}[2] +: 4] <= data_{side}[3:0];
    2: rows[{at}[13:4]][9 * {at}[3] + 2 * {at}[2:1] +: 2] <= data_{side}[1:0];
    default: rows[{at}[13:4]][9 * {at}[3] + {at}[2:0]] <= data_{side}[0];
  endcase
end""")
    return "\n".join([*text, "endmodule\n"])


def _mult18x18d():
    registers = {"INPUTA": ("a", "given_a"), "INPUTB": ("b", "given_b"), "OUTPUT": ("result", "product")}
    text = [
        f"module MULT18X18D ({_bits('A', 18, 'input')}, {_bits('B', 18, 'input')}, {_bits('C', 18, 'input')},",
        "  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, RST0, CE0, CE1, CE2, CE3,",
        f"  {_bits('P', 36, 'output')});",
        'parameter GSR = "ENABLED";',
        *(f'parameter REG_{name}_{pin} = "{value}";' for name in registers
          for pin, value in (("CLK", "NONE"), ("CE", "CE0"), ("RST", "RST0"))),
        f"wire signed [18:0] given_a = {{SIGNEDA & A17, {_vector('A', 18)[1:-1]}}};",
        f"wire signed [18:0] given_b = {{SIGNEDB & B17, {_vector('B', 18)[1:-1]}}};",
        "wire signed [18:0] a, b;",
        "wire signed [37:0] product = a * b, result;",
        f"assign {_vector('P', 36)} = result[35:0];",
        "wire [3:0] enables = {CE3, CE2, CE1, CE0};",
        'initial if (RST0 !== 0 && (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_OUTPUT_CLK != "NONE"))',
        '  $fatal(1, "a reset of MULT18X18D, which has no model");',
    ]
    for name, (after, before) in registers.items():
        # The last character of CE0 to CE3 numbers the enable.
        text.append(f"""
generate if (REG_{name}_CLK == "NONE") assign {after} = {before};
else begin : {name}
  localparam [23:0] enable = REG_{name}_CE;
  reg signed [37:0] held = 0;
  assign {after} = held;
  always @(posedge CLK0) if (enables[enable[1:0]]) held <= {before};
end endgenerate""")
    return "\n".join([*text, "endmodule\n"])


def models():
    """Verilog of ``DP16KD`` and ``MULT18X18D``."""
    return _dp16kd() + _mult18x18d()
