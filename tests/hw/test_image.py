"""What a host writes before a program's start."""

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.errors import InputError
from weft.hw.image import Buffer, Image

TINY = Config.named("tiny")
IMAGE = Image(TINY, np.zeros(256, np.uint8), 4096, 128, 2, [
    Buffer("x", 512, 8, "input"), Buffer("cache", 1024, 16, "state"), Buffer("y", 2048, 8, "output")], ["", "encoder.0"])
X = np.arange(8, dtype=np.uint8)


def test_states_that_are_not_given_are_zero():
    data = IMAGE.host_data({"x": X})
    assert list(data) == ["x", "cache"] and np.array_equal(data["x"], X) and not data["cache"].any() and data["cache"].size == 16
    assert np.array_equal(IMAGE.host_data({"x": X, "cache": np.ones(16, np.uint8)})["cache"], np.ones(16))


@pytest.mark.parametrize("inputs, message", [
    ({}, r"inputs are \['x'\], not \[\]"), ({"x": X, "y": X}, r"inputs are \['x'\], not \['x', 'y'\]"),
    ({"x": X.astype(int)}, r"input 'x' must be uint8\[8\], not int64\[8\]"),
    ({"x": X, "cache": X}, r"input 'cache' must be uint8\[16\], not uint8\[8\]")])
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(InputError, match=message):
        IMAGE.host_data(inputs)


def test_sources_and_configurations():
    assert [IMAGE.source(number) for number in range(3)] == ["", " (encoder.0)", ""]
    IMAGE.check_configuration(TINY.fingerprint, "the board")
    with pytest.raises(InputError, match="is for configuration tiny .0x[0-9a-f]{8}., "
                                         "the board has one with fingerprint 0x00000007"):
        IMAGE.check_configuration(7, "the board")
