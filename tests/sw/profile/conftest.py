"""One recording simulation, quickly built, and one profile for all tests here."""

import pytest

import weft
from weft import workloads
from weft.profile import profile_program
from weft.sim.rtl import RtlMachine

CONFIG = weft.Config.named("tiny")


@pytest.fixture(scope="session")
def rtl():
    return RtlMachine(CONFIG, optimize="build", profile=True)


@pytest.fixture(scope="session")
def profile(rtl):
    """An attention layer: loads, weights, products of every kind, softmax, requantization, stores."""
    program, args, kwargs = workloads.mha(2, 11, 12, 8, CONFIG)
    return profile_program(program, args, kwargs, rtl)
