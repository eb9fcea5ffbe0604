"""Writes registers the way people do: what a register takes stands in its clocked block.

Amaranth gives each register a combinational block for its next value and a clocked one that copies it. Joined, the text is
shorter, and a simulator does nothing for a register whose conditions are false instead of computing and copying it.
"""

import re
from collections import Counter

__all__ = ["join_registers"]

_MODULE = re.compile(r"^module .*?^endmodule\n", re.M | re.S)
_DECLARED = re.compile(r"^  (?:reg|wire) (\[\d+:0\] )?(\w+)( = [^;]*)?;\n", re.M)
_COPY = re.compile(r"^  always @\(posedge clk\)\n    (\w+) <= (\w+)(\[\d+:0\])?;\n", re.M)
_WIRE = re.compile(r"^  assign (\w+) = (.*);\n", re.M)
# A combinational block of several statements, or of one.
_BLOCK = re.compile(r"^  always @\*(?: begin\n    if \(at_start\) begin end\n(.*?)^  end|\n(    [^\n]*;))\n", re.M | re.S)
_STATEMENT = re.compile(r"^( +(?:[^\s:]+: )?)(\{ [^}]*\}|\w+(?: ?\[[\d:]+\])?) = (.*;)$", re.M)
_NAME = re.compile(r"\b[A-Za-z_]\w*")
# Operations whose low bits depend on the operands' low bits only.
_ARITHMETIC = re.compile(r"(?:\$signed\(\w+(?:\[[\d:]+\])?\) [-+*] \$signed\(\w+(?:\[[\d:]+\])?\)"
                         r"|\w+(?:\[[\d:]+\])? [-+*] \w+(?:\[[\d:]+\])?)")


def join_registers(text):
    """Verilog of yosys, with every register's next value moved into its clocked block where nothing else reads it."""
    return _MODULE.sub(lambda match: _join(match[0]), text)


def _join(module):
    width = {name: size for size, name, _ in _DECLARED.findall(module)}
    uses = Counter(_NAME.findall(module))
    register_of = {}        # next value, used as a whole by one register -> that register
    cut = {}                # the same, if the register takes its low bits only
    for register, value, bits in _COPY.findall(module):
        if value in width and register in width and width[register].strip() == (bits or width[value].strip()):
            (cut if bits and bits != width[value].strip() else register_of)[value] = register

    # Next values that blocks assign, and nothing else in these blocks.
    assigned = Counter()
    for body in map("".join, _BLOCK.findall(module)):
        targets = _targets(body)
        if len(targets) == 1:
            assigned.update(targets)
    # Read by the copy only: what is left are the declaration and the assignments.
    joined = {value: register for value, register in register_of.items()
              if assigned[value] and uses[value] == 2 + assigned[value]}
    # The same for values that a continuous assignment gives.
    expressions = {value: expression for value, expression in _WIRE.findall(module) if uses[value] == 3
                   and (value in register_of or value in cut and _ARITHMETIC.fullmatch(expression))}

    def block(match):
        body = match[1] or match[2] + "\n"
        value = next(iter(_targets(body)), None)
        if value not in joined:
            return match[0]
        name = re.compile(rf"\b{value}\b")
        body = _STATEMENT.sub(lambda found: f"{found[1]}{name.sub(joined[value], found[2])} <= {found[3]}", body)
        first, _, rest = body.partition("\n")
        if re.fullmatch(r"    (.*) <= \1;", first):
            body = rest         # a register keeps its value by itself
        return f"  always @(posedge clk) begin\n{body}  end\n" if body else ""

    def copy(match):
        if match[2] in joined:
            return ""
        if match[2] in expressions:
            return f"  always @(posedge clk)\n    {match[1]} <= {expressions[match[2]]};\n"
        return match[0]

    gone = joined.keys() | expressions.keys()
    module = _BLOCK.sub(block, module)
    module = _WIRE.sub(lambda match: "" if match[1] in expressions else match[0], module)
    module = _COPY.sub(copy, module)
    if not re.search(r"\(at_start\)", module):
        gone.add("at_start")
    return _DECLARED.sub(lambda match: "" if match[2] in gone else match[0], module)


def _targets(body):
    """Names that a block assigns, and how often they occur as targets."""
    return Counter(name for _, target, _ in _STATEMENT.findall(body) for name in _NAME.findall(target))
