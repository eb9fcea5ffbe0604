"""Delays that nextpnr writes of a routed netlist."""

import pytest
from packed_netlists import packed, register, table

from weft.hw.silicon.placement.routed import Routed
from weft.hw.silicon.placement.slack import Slack

SDF = r"""(DELAYFILE
  (CELL
    (CELLTYPE "top")
    (INSTANCE )
    (DELAY
      (ABSOLUTE
        (INTERCONNECT first/Q core\.gate\[3\]/A (200:250:300) (200:250:300))
        (INTERCONNECT first/Q core\.gate\[3\]/B (0.5:0.5:700.5) (200:250:300))
        (INTERCONNECT core\.gate\[3\]/F last/M (1:2:3000) (1:2:3000))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE first)
    (DELAY
      (ABSOLUTE
        (IOPATH CLK Q (430:477:525) (430:477:525))
      )
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_COMB")
    (INSTANCE core\.gate\[3\])
    (DELAY
      (ABSOLUTE
        (IOPATH A F (200:218:236) (200:218:236))
        (IOPATH B F (200:218:236) (200:218:236))
        (IOPATH F1 OFX (200:218:240) (200:218:240))
      )
    )
    (TIMINGCHECK
      (SETUPHOLD (posedge WRE) (posedge WCK) (254:323:392) (0:0:0))
      (SETUPHOLD (negedge WRE) (posedge WCK) (254:323:999) (0:0:0))
    )
  )
  (CELL
    (CELLTYPE "TRELLIS_FF")
    (INSTANCE last)
    (TIMINGCHECK
      (SETUPHOLD (posedge M) (posedge CLK) (0:0:100) (267:285:303))
    )
  )
)
"""


def test_names_and_the_slowest_of_three():
    found = Routed(SDF)
    assert found.wires == {("core.gate[3]", "A"): 0.3, ("core.gate[3]", "B"): 0.7005, ("last", "M"): 3.0}
    assert found.cells["first"].start == {"Q": 0.525}
    gate = found.cells["core.gate[3]"]
    assert gate.through == [("A", "F", 0.236), ("B", "F", 0.236), ("F1", "OFX", 0.24)] and gate.setup == {"WRE": 0.392}


def test_paths_take_what_was_routed_until_a_cell_moves():
    cells = {"first": register("2/2/A.FF0", 2, "M", 9), "core.gate[3]": table("9/2/D.K1", 3, 2, 2),
             "last": register("4/2/D.FF0", 4, "M", 3)}
    found = packed(**cells)
    slack = Slack(found, Routed(SDF))
    assert slack.ends() == [(pytest.approx(0.525 + 0.7005 + 0.236 + 3.0 + 0.1), 2, "M")]     # no F1 of the gate is connected
    found.x[0] += 1
    slack.update({0})
    moved = slack.ends()[0][0]
    assert moved == pytest.approx(0.525 + slack.estimate(0, 1, "B") + 0.236 + 3.0 + 0.1)
    assert slack.estimate(0, 1, "B") > Slack(found).estimate(0, 1, "B")     # between all others a way is longer
    found.x[0] -= 1
    slack.update({0})
    assert slack.ends()[0][0] == pytest.approx(4.5615)
