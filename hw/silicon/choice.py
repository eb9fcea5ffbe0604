"""A choice among words (`hw.choice`) on an ECP5: lookup tables and the multiplexers behind them.

Block RAM of an ECP5 gives its data 5.6 ns after the clock. yosys' mapper knows nothing of it, and takes three lookup tables in
a row for eight banks, with a wire before each; one table and the multiplexers of its slices do.
"""

import re

__all__ = ["CHOICE_SCRIPT", "choice_files", "choice_verilog"]

_FILE = "choice.v"
#: Line for yosys behind the accelerator's Verilog.
CHOICE_SCRIPT = f"read_verilog -overwrite {_FILE}"
_MODULE = re.compile(r"^module (\w+)\(number, word, words\);(.*?)^endmodule", re.S | re.M)
_RANGE = r"\b{}put \[(\d+):0\] {};"
#: By words: what stands behind the tables, each of which chooses between two.
_BEHIND = {
    4: ["PFUMX high (.ALUT(pair[1]), .BLUT(pair[0]), .C0(number[1]), .Z(word[place]));"],
    8: ["eight_of_pairs all (.pair(pair), .number(number[2:1]), .word(word[place]));"],
    32: ["wire [3:0] eight;",
         "wire [1:0] sixteen;",
         "for (n = 0; n < 4; n = n + 1)",
         "    eight_of_pairs part (.pair(pair[4*n +: 4]), .number(number[2:1]), .word(eight[n]));",
         "for (n = 0; n < 2; n = n + 1)",
         "    LUT4 #(.INIT(16'hCACA)) of_two (.A(eight[2*n]), .B(eight[2*n + 1]), .C(number[3]), .D(1'b0), .Z(sixteen[n]));",
         "PFUMX last (.ALUT(sixteen[1]), .BLUT(sixteen[0]), .C0(number[4]), .Z(word[place]));"],
}
_TEXT = """\
module {name}(number, word, words);
    input [{high}:0] number;
    output [{width}-1:0] word;
    input [{count}*{width}-1:0] words;
    genvar place, n;
    generate for (place = 0; place < {width}; place = place + 1) begin : bits
        wire [{count}/2-1:0] pair;
        for (n = 0; n < {count}/2; n = n + 1) begin : pairs
            LUT4 #(.INIT(16'hCACA)) table_of_two (
                .A(words[2*n*{width} + place]), .B(words[(2*n + 1)*{width} + place]), .C(number[0]), .D(1'b0),
                .Z(pair[n]));
        end
        {behind}
    end endgenerate
endmodule
"""
#: Two neighbouring slices have multiplexers for so many, and no wire between them.
_EIGHT = """\
module eight_of_pairs(pair, number, word);
    input [3:0] pair;
    input [1:0] number;
    output word;
    wire [1:0] four;
    PFUMX low (.ALUT(pair[1]), .BLUT(pair[0]), .C0(number[0]), .Z(four[0]));
    PFUMX high (.ALUT(pair[3]), .BLUT(pair[2]), .C0(number[0]), .Z(four[1]));
    L6MUX21 last (.D0(four[0]), .D1(four[1]), .SD(number[1]), .Z(word));
endmodule
"""


def choice_files(text):
    """``{file name: text}`` of what the script reads, for the accelerator's Verilog ``text``."""
    return {_FILE: choice_verilog(text)}


def choice_verilog(text):
    """Verilog that replaces, in the accelerator's Verilog ``text``, each module that chooses among 4, 8 or 32 words."""
    modules = []
    for name, body in _MODULE.findall(text):
        number, word = re.search(_RANGE.format("in", "number"), body), re.search(_RANGE.format("out", "word"), body)
        count = 1 << int(number[1]) + 1 if number else 2
        if word and count in _BEHIND:
            modules.append(_TEXT.format(name=name, count=count, high=int(number[1]), width=int(word[1]) + 1,
                                        behind="\n        ".join(_BEHIND[count])))
    return "".join([_EIGHT, *modules]) if modules else ""
