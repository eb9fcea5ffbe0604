"""Stream parts: everything that goes in comes out once, in order, whatever stalls."""

import json
import os
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw.config import Config

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(part=["buffer", "skid", "double", "five", "queue", "memory"])
async def in_order_under_stalls(dut, part):
    """And one payload a cycle, where nothing stalls."""
    random = Random(cocotb.RANDOM_SEED)
    Clock(dut.clk, 2, unit="ns").start()
    i_valid, i_ready, i_payload, o_valid, o_ready, o_payload = (
        getattr(dut, f"{side}_{part}_{name}") for side in "io" for name in ("valid", "ready", "payload"))
    i_valid.value = o_ready.value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    sent, received, offered = [], [], None
    for cycle in range(1200):
        giving, taking = ((0.9, 0.2), (0.2, 0.9), (1.0, 1.0))[cycle // 400]
        # What is offered stays until it is taken.
        if offered is None and random.random() < giving:
            offered = random.getrandbits(8)
        i_valid.value = int(offered is not None)
        i_payload.value = random.getrandbits(8) if offered is None else offered
        taken = random.random() < taking
        o_ready.value = int(taken)
        await FallingEdge(dut.clk)
        if cycle == 900:
            settled = len(received)
        if offered is not None and int(i_ready.value):
            sent.append(offered)
            offered = None
        if int(o_valid.value) and taken:
            received.append(int(o_payload.value))
        assert received == sent[:len(received)], f"cycle {cycle}"
        await RisingEdge(dut.clk)
    # A memory holds the first payload outside as well, at its output.
    assert len(sent) - len(received) <= max(8, CONFIG.bursts_in_flight + (part == "memory"))
    assert len(received) - settled == 300
