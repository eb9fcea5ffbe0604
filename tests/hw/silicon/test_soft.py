"""Multipliers of LUTs are multipliers: the cells that yosys makes of them, evaluated here."""

import json
import random

import pytest
from carry_cell import carry_cell
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from weft.hw.silicon.carries import release_constants
from weft.hw.silicon.soft import soft_files, soft_script

#: Bits of both factors, and of the product; whether signed; zeros above the first factor, and its value where that is constant.
SMALL = [(a, b, a + b, signed, 0, None) for a in range(1, 5) for b in range(1, 5) for signed in (False, True)]
#: 18 by 18 bits, those of the lanes, of the products and of the load engine; zeros above; less and more than the product asked for.
LARGE = [(18, 18, 36, True, 0, None), (17, 18, 36, True, 1, None), (15, 18, 33, True, 0, None), (16, 16, 32, True, 0, None),
         (32, 16, 48, True, 0, None), (20, 6, 26, False, 0, None), (9, 11, 13, True, 0, None), (7, 5, 30, True, 2, None),
         (10, 13, 16, False, 3, None)]
#: Constants, which become adders in all modules.
CONSTANTS = [(4, 12, 16, False, 0, 12), (2, 6, 8, False, 0, 3), (5, 9, 12, True, 0, 11), (3, 6, 20, True, 0, 3),
             (4, 4, 8, True, 0, 0)]


def verilog(shapes, module):
    ports, lines = [], []
    for n, (a, b, y, signed, spare, constant) in enumerate(shapes):
        sign = "signed " * signed
        ports += [f"input {sign}[{a - 1}:0] a{n}", f"input {sign}[{b - 1}:0] b{n}", f"output {sign}[{y - 1}:0] y{n}"]
        first = f"{{{spare}'b0, a{n}}}" if spare else f"a{n}"
        if constant is not None:
            first = f"{a}'b{constant & (1 << a) - 1:0{a}b}"
        lines.append(f"assign y{n} = {'$signed' if signed else ''}({first}) * b{n};")
    return "\n".join([f"module {module} ({', '.join(ports)});", *lines, "endmodule\n"])


@pytest.fixture(scope="module")
def synthesize(yosys, tmp_path_factory):
    """``synthesize(shapes, soft=True)``: the cells of a module with a multiplier of each of the ``shapes``."""
    folder = tmp_path_factory.mktemp("soft")

    def run(shapes, soft=True):
        for name, text in ({"source.v": verilog(shapes, "part")} | soft_files()).items():
            (folder / name).write_text(text)
        script = f"""read_verilog source.v
            hierarchy -top part
            {soft_script(modules=["part"] * soft)}
            techmap
            opt
            abc -g AND
            opt_clean
            write_json netlist.json"""
        yosys(folder, "; ".join(map(str.strip, script.splitlines())))
        netlist = json.loads((folder / "netlist.json").read_text())
        release_constants(netlist)
        return netlist["modules"]["part"]
    return run


def evaluate(module, given, everywhere):
    """``{port: values of its bits}`` of a module of CCU2C and gates; a value is an int of one bit for each of the cases, which
    ``everywhere`` has all set."""
    values = {"0": 0, "1": everywhere, "x": 0} | {bit: given[name][n] for name, port in module["ports"].items()
                                                  if port["direction"] == "input" for n, bit in enumerate(port["bits"])}

    waiting = list(module["cells"].values())
    while waiting:
        left = []
        for cell in waiting:
            pins = {pin: bits[0] for pin, bits in cell["connections"].items()}
            inputs = pins.keys() - {"Y", "S0", "S1", "COUT"}
            if not all(pins[pin] in values for pin in inputs):
                left.append(cell)
                continue
            of = {pin: values[pins[pin]] for pin in inputs}
            if cell["type"] == "$_AND_":
                results = {"Y": of["A"] & of["B"]}
            elif cell["type"] == "$_NOT_":
                results = {"Y": of["A"] ^ everywhere}
            else:
                assert cell["type"] == "CCU2C" and cell["parameters"]["INJECT1_0"] == cell["parameters"]["INJECT1_1"] == "NO"
                results = carry_cell(cell["parameters"], of, everywhere)
            values |= {pins[pin]: result for pin, result in results.items() if pin in pins}
        assert len(left) < len(waiting), "a loop, or something that nothing drives"
        waiting = left
    return {name: [values[bit] for bit in port["bits"]] for name, port in module["ports"].items()}


def bits_of(numbers, width):
    return [sum((number >> n & 1) << case for case, number in enumerate(numbers)) for n in range(width)]


def check(module, shapes, cases, seed=0):
    """All values of both factors where these are no more than ``cases``, else that many, the least and largest among them."""
    draw, given, wanted = random.Random(seed), {}, {}
    for n, (a, b, y, signed, spare, constant) in enumerate(shapes):
        if a + b <= cases.bit_length() - 1:
            pairs = [(index & (1 << a) - 1, index % cases >> a & (1 << b) - 1) for index in range(cases)]
        else:
            ends = [[0, 1, 1 << bits - 1, (1 << bits - 1) - 1, (1 << bits) - 1] for bits in (a, b)]
            pairs = [(left & (1 << a) - 1, right & (1 << b) - 1) for left in ends[0] for right in ends[1]]
            pairs += [(draw.getrandbits(a), draw.getrandbits(b)) for _ in range(cases - len(pairs))]
        given[f"a{n}"], given[f"b{n}"] = bits_of([left for left, _ in pairs], a), bits_of([right for _, right in pairs], b)
        products = []
        for left, right in pairs:
            if signed and not spare:
                left -= left >> a - 1 << a
            if signed:
                right -= right >> b - 1 << b
            products.append((left if constant is None else constant) * right)
        wanted[f"y{n}"] = bits_of(products, y)
    found = evaluate(module, given, (1 << cases) - 1)
    for n, shape in enumerate(shapes):
        assert found[f"y{n}"] == wanted[f"y{n}"], shape


def test_small_ones_multiply_all_that_there_is(synthesize):
    check(synthesize(SMALL), SMALL, 256)


def test_large_ones_and_constants(synthesize):
    module = synthesize(LARGE + CONSTANTS)
    check(module, LARGE + CONSTANTS, 256)
    # Outside the soft modules too.
    check(synthesize(CONSTANTS, soft=False), CONSTANTS, 256)


def test_rows_of_the_array(yosys, tmp_path):
    """Elements of other rows keep their multipliers; those of the rows have trees, also where both are of one module."""
    text = """module element(input signed [8:0] a, input signed [7:0] b, output signed [16:0] y); assign y = a * b; endmodule
module other(input signed [8:0] a, input signed [7:0] b, output signed [16:0] y); assign y = b * a; endmodule
module array(input [35:0] a, input [31:0] b, output [67:0] y);
  element pe_0_0 (.a(a[8:0]), .b(b[7:0]), .y(y[16:0]));
  other pe_0_10 (.a(a[17:9]), .b(b[15:8]), .y(y[33:17]));
  element pe_1_0 (.a(a[26:18]), .b(b[23:16]), .y(y[50:34]));
  other pe_1_10 (.a(a[35:27]), .b(b[31:24]), .y(y[67:51]));
endmodule
"""
    for name, content in ({"source.v": text} | soft_files()).items():
        (tmp_path / name).write_text(content)
    script = f"read_verilog source.v\nhierarchy -top array\n{soft_script(text, range(1, 2))}\nwrite_json netlist.json"
    yosys(tmp_path, script.replace("\n", "; "))
    modules = json.loads((tmp_path / "netlist.json").read_text())["modules"]
    kinds = {name: {cell["type"] for cell in modules[cell["type"]]["cells"].values()}
             for name, cell in modules["array"]["cells"].items()}
    assert kinds["pe_0_0"] == kinds["pe_0_10"] == {"$mul"}
    assert "CCU2C" in kinds["pe_1_0"] & kinds["pe_1_10"] and "$mul" not in kinds["pe_1_0"] | kinds["pe_1_10"]


def test_rows_of_pairs():
    text = "  pair_module pair_0_1 (\n  pair_module pair_1_1 (\n  pair_module pair_1_2 (\n"
    assert soft_script(text, range(1, 2)).splitlines()[2:4] == [
        "copy pair_module pair_module_soft", "chtype -set pair_module_soft c:pair_1_1 c:pair_1_2"]


def test_a_multiplier_takes_about_a_lut_for_each_pair_of_bits(synthesize):
    cells = [cell["type"] for cell in synthesize([(18, 18, 36, True, 0, None)])["cells"].values()]
    assert 2 * cells.count("CCU2C") + len(cells) - cells.count("CCU2C") < 1.15 * 18 * 18


widths = st.integers(1, 20)
shapes = st.builds(lambda a, b, y, signed, spare: (a, b, y, signed, spare, None), widths, widths, st.integers(1, 45), st.booleans(),
                   st.sampled_from([0, 0, 1, 2]))


# Without shrinking, which would run yosys for minutes.
@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(shapes, min_size=8, max_size=8), st.integers(0, 1 << 30))
def test_any_widths(synthesize, shapes, seed):
    check(synthesize(shapes), shapes, 128, seed)
