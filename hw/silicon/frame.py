"""Registers around a component that stand for its neighbours, for devices with fewer pins than the component has ports."""

__all__ = ["FRAME", "CORE", "frame"]

#: Names of the module around a component and of its instance there.
FRAME, CORE = "frame", "core"


def frame(module, ports):
    """Verilog of `FRAME` around a module, and the registers that it adds.

    ``ports``: ``[(name, whether an output, width)]`` with ``clk``. Each input bit comes from a register of a chain behind one
    pin, each output bit goes to a register that nothing reads, so that paths from and to the ports count with a register at
    their other end, and the clock enters as on a chip: by a pin and the network for clocks.
    """
    joined, counts = [".clk(clk)"], []
    for register, outputs in ("given", False), ("taken_next", True):
        place = 0
        for name, output, width in ports:
            if name != "clk" and output == outputs:
                joined.append(f".{name}({register}[{place} +: {width}])")
                place += width
        counts.append(place)
    given, taken = counts
    lines = ",\n    ".join(joined)
    return f"""\
module {FRAME} (input wire clk, input wire pin);
  (* keep *) reg [{given - 1}:0] given;
  (* keep *) reg [{taken - 1}:0] taken;
  wire [{taken - 1}:0] taken_next;
  always @(posedge clk) begin
    given <= {{given, pin}};
    taken <= taken_next;
  end
  {module} {CORE} (
    {lines}
  );
endmodule
""", given + taken
