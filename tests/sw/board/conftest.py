"""A simulated board, and a small program for it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from weft.hw.config import Config
from weft.sim.board import SimulatedPort

sys.path.append(str(Path(__file__).parent))

CONFIG = Config.named("tiny")


@pytest.fixture(scope="session")
def make_port():
    """``make_port()``: a `SimulatedPort` of tiny, each its own. Its clock is slow, so that a second of waiting is few cycles."""
    return lambda: SimulatedPort(CONFIG, clock_hz=400_000)


@pytest.fixture(scope="session")
def program():
    """A linear layer with GELU: few bytes, and a few thousand cycles; with it, arguments and golden outputs."""
    import torch

    import weft

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.GELU(), torch.nn.Linear(20, 8)).eval()
    batches = [((torch.randn(5, 12),), {}) for _ in range(4)]
    compiled = weft.compile(model, *batches[0], config=CONFIG, calibration=batches)
    return compiled, batches[1][0], [np.asarray(o) for o in compiled.run(batches[1][0]).outputs]
