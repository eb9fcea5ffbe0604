"""The bytes between buffers, looked at after a run."""

from types import SimpleNamespace

import numpy as np
import pytest

from weft.hw.errors import RunError
from weft.hw.image import Buffer
from weft.sim.rtl import machine


@pytest.fixture
def run():
    """What a run leaves: 40 bytes of constants, two buffers out of order, 200 bytes of memory."""
    image = SimpleNamespace(constant=np.arange(40, dtype=np.uint8), buffers=[
        Buffer("b", 120, 30, "output"), Buffer("constants", 0, 40, "constant"), Buffer("a", 64, 16, "input")])
    data = np.full(200, machine._FILL, np.uint8)
    data[:40] = image.constant
    data[64:80] = data[120:150] = 7
    return SimpleNamespace(image=image, data=data)


def test_what_buffers_hold_does_not_matter(run):
    machine._Run._check_guards(run)


@pytest.mark.parametrize("place", [40, 63, 80, 119, 150, 199])
def test_every_byte_between_buffers_is_a_guard(run, place):
    run.data[place] ^= 1
    with pytest.raises(RunError, match=f"guard byte at offset 0x{place:x} "):
        machine._Run._check_guards(run)


def test_constants_stay(run):
    run.data[39] ^= 1
    with pytest.raises(RunError, match="constant"):
        machine._Run._check_guards(run)
