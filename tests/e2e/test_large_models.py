"""BERT-base and GPT-2 small with random weights on the RTL of base, every byte compared; minutes each."""

import subprocess
import sys

import pytest

MEMORY_GIB = 4

BERT = """
from weft.bench import bench_model
figures = bench_model("bert-base", 128, config=weft.Config.named("base"))
assert figures["exact"] is True, figures
assert figures["macs"] == 12 * (128 * 12 * 768 * 768 + 2 * 128 * 128 * 768)
"""

GPT2 = """
from weft.bench import zoo
program = weft.compile_decoder(zoo.gpt2(), config="base", max_length=256,
                               calibration=[zoo.random_ids(50257, (256,), seed) for seed in range(1, 5)])
session = program.session("verify")         # raises where any byte differs
logits = session.step(zoo.random_ids(50257, (32,)))
for position in (32, 33):
    logits = session.step([int(logits[-1].argmax())])
    linear = 12 * 12 * 768 * 768 + 768 * 50257
    assert session.stats.macs == linear + (position + 1) * 12 * 2 * 768
    assert session.stats.cycles > session.stats.roofline_cycles > linear // 16
"""


@pytest.mark.large
@pytest.mark.parametrize("code", [BERT, GPT2], ids=["bert-base", "gpt2"])
def test_every_byte_is_equal_within_the_memory_of_a_laptop(code):
    # In a process of its own: the peak is one of the whole process.
    ending = "import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", f"import weft\n{code}\n{ending}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < MEMORY_GIB << 20
