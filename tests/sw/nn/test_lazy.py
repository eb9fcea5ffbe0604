"""What needs torch is loaded when it is used."""

import subprocess
import sys

PROGRAM = """
import sys, weft
assert "torch" not in sys.modules and "numpy" not in sys.modules
assert weft.nn.BlockCirculantLinear(8, 8, 4).block == 4
assert "torch" in sys.modules
assert weft.sparsify.__module__ == "weft.nn.pruning" and weft.circulant and weft.distill
"""


def test_import_weft_loads_no_torch():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
