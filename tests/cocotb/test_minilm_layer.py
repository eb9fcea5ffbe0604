"""A whole MiniLM layer with its real weights in cocotb: independent AXI memory, every written byte compared."""

import json

import pytest

import weft
from weft.hw.errors import RunError
from weft.sim.cocotb_runner import run_benches
from weft.sim.fuzz import random_image
from weft.sim.fuzz.campaign import save
from weft.sim.rtl.library import TOP, sources_of
from weft.text import calibration_sentences, load_folder, minilm_folder

#: The configuration whose simulation other tests build too: a larger array's takes longer to build than this to run.
CONFIG = weft.Config.named("tiny")
TOKENS = 4


@pytest.fixture(scope="module")
def layer():
    """``(image, inputs)``: embeddings and the first encoder layer, on a sentence shorter than the program."""
    model = load_folder(minilm_folder())
    model.module.encoder.layer = model.module.encoder.layer[:1]
    model.module.pooler = None
    batches = [((), model.inputs(sentence, TOKENS)) for sentence in calibration_sentences()[:8]]
    program = weft.compile(model.module, *batches[0], config=CONFIG, calibration=batches)
    # One layer: 384 x (4 x 384 + 2 x 1536) products a token, and attention.
    assert program.macs >= TOKENS * 384 * (4 * 384 + 2 * 1536)
    arguments = model.inputs("Boats", TOKENS)
    assert 0 < arguments["attention_mask"].sum() < TOKENS
    return program.image, program._pack((), arguments)[0]


def run(path, image, inputs):
    save(path, image.config, 0, "reference", image, inputs, "")
    environment = {"WEFT_CONFIG": json.dumps(CONFIG.to_dict()), "WEFT_IMAGE": str(path)}
    return run_benches(sources_of(CONFIG), TOP, "weft.sim.cocotb.bench_programs", test_filter="saved_program_is_equal",
                       env=environment)


def test_layer_writes_the_bytes_of_the_golden_model(layer, tmp_path):
    assert len(run(tmp_path / "layer.json", *layer)) == 1


def test_program_for_another_accelerator_fails(tmp_path):
    with pytest.raises(RunError, match="the program is for"):
        run(tmp_path / "other.json", *random_image(weft.Config.named("small"), 1))
