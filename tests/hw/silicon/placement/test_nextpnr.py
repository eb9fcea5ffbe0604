"""nextpnr accepts what the moves have made of its placement, and routes it."""

import json

import pytest

from weft.hw.errors import RunError
from weft.hw.silicon.placement import refine
from weft.hw.silicon.placement.packed import Packed

#: Of everything that shares tiles: adders, RAM of two sizes, wide choices, registers with and without reset and enable.
DESIGN = """\
module top(input clk, input rst, input [31:0] i, output reg [31:0] o);
    reg [31:0] sum, turned, held, late;
    reg [7:0] small [0:3];
    reg [15:0] large [0:15];
    reg [7:0] choice;
    reg [35:0] product;
    wire [63:0] all = {sum, turned};
    always @(posedge clk) begin
        sum <= sum + i;
        product <= held[17:0] * turned[17:0];
        if (i[0]) turned <= {turned[30:0], turned[31]} ^ sum;
        if (i[1]) small[i[3:2]] <= sum[7:0];
        if (i[4]) large[i[8:5]] <= turned[15:0];
        choice <= {all[held[5:0]], all[sum[5:0]], small[held[1:0]][5:0]};
        held <= {large[sum[3:0]], choice, held[7:0] + choice};
        late <= late + (held ^ product[31:0]);
        o <= late;
        if (rst) sum <= 0;
        if (sum[3]) held <= 1;
    end
endmodule
"""
DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6", "--lpf-allow-unconstrained", "--timing-allow-fail", "-q")


@pytest.mark.large
@pytest.mark.parametrize("seed", [1, 2])
def test_a_placement_stays_valid(yosys, nextpnr, tmp_path, seed):
    (tmp_path / "top.v").write_text(DESIGN)
    yosys(tmp_path, "read_verilog top.v; synth_ecp5 -abc9 -top top -json top.json")
    nextpnr(tmp_path, *DEVICE, "--json", "top.json", "--placer", "static", "--seed", seed, "--no-route", "--write", "placed.json")
    # A target that no path meets, so that everything moves that can.
    refine(tmp_path / "placed.json", tmp_path / "refined.json", 0.5)
    before, after = Packed.read(tmp_path / "placed.json"), Packed.read(tmp_path / "refined.json")
    moved = sum(place != other for place, other in zip(zip(before.x, before.y, before.slot, strict=True),
                                                       zip(after.x, after.y, after.slot, strict=True), strict=True))
    assert moved > 20
    # nextpnr checks every tile behind placement, and some releases stop after that when nothing was packed.
    try:
        nextpnr(tmp_path, *DEVICE, "--json", "refined.json", "--no-pack", "--no-route", "--force", "-l", "checked.log")
    except RunError:
        pass
    checked = (tmp_path / "checked.log").read_text()
    assert "SA placement time" in checked and "validity check failed" not in checked
    nextpnr(tmp_path, *DEVICE, "--json", "refined.json", "--no-pack", "--no-place", "--report", "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["fmax"]
