"""The choice among memory banks (`memory.choice`) on an ECP5: lookup tables and the multiplexers behind them.

Block RAM of an ECP5 gives its data 5.6 ns after the clock. yosys' mapper knows nothing of it, and takes three lookup tables in
a row for eight banks, with a wire before each; one table and the multiplexers of its slices do.
"""

import re

__all__ = ["CHOICE_SCRIPT", "choice_files", "choice_verilog"]

_FILE = "choice.v"
#: Line for yosys behind the accelerator's Verilog.
CHOICE_SCRIPT = f"read_verilog -overwrite {_FILE}"
_MODULE = re.compile(r"^module (\w+)\(bank, word, words\);(.*?)^endmodule", re.S | re.M)
_RANGE = r"\b{}put \[(\d+):0\] {};"
#: By banks: what stands behind the tables, each of which chooses between two words.
_BEHIND = {
    4: ["PFUMX high (.ALUT(pair[1]), .BLUT(pair[0]), .C0(bank[1]), .Z(word[place]));"],
    8: ["wire [1:0] four;",
        "PFUMX low (.ALUT(pair[1]), .BLUT(pair[0]), .C0(bank[1]), .Z(four[0]));",
        "PFUMX high (.ALUT(pair[3]), .BLUT(pair[2]), .C0(bank[1]), .Z(four[1]));",
        "L6MUX21 last (.D0(four[0]), .D1(four[1]), .SD(bank[2]), .Z(word[place]));"],
}
_TEXT = """\
module {name}(bank, word, words);
    input [{high}:0] bank;
    output [{width}-1:0] word;
    input [{banks}*{width}-1:0] words;
    genvar place, number;
    generate for (place = 0; place < {width}; place = place + 1) begin : bits
        wire [{banks}/2-1:0] pair;
        for (number = 0; number < {banks}/2; number = number + 1) begin : pairs
            LUT4 #(.INIT(16'hCACA)) table_of_two (
                .A(words[2*number*{width} + place]), .B(words[(2*number + 1)*{width} + place]), .C(bank[0]), .D(1'b0),
                .Z(pair[number]));
        end
        {behind}
    end endgenerate
endmodule
"""


def choice_files(text):
    """``{file name: text}`` of what the script reads, for the accelerator's Verilog ``text``."""
    return {_FILE: choice_verilog(text)}


def choice_verilog(text):
    """Verilog that replaces, in the accelerator's Verilog ``text``, each module that chooses among 4 or 8 banks."""
    modules = []
    for name, body in _MODULE.findall(text):
        bank, word = re.search(_RANGE.format("in", "bank"), body), re.search(_RANGE.format("out", "word"), body)
        banks = 1 << int(bank[1]) + 1 if bank else 2
        if word and banks in _BEHIND:
            modules.append(_TEXT.format(name=name, banks=banks, high=int(bank[1]), width=int(word[1]) + 1,
                                        behind="\n        ".join(_BEHIND[banks])))
    return "".join(modules)
