"""The scratchpad against a NumPy array: every port at once, at random, and its contract cycle by cycle."""

import json
import os
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw.config import Config
from weft.hw.interfaces import READ_LATENCY
from weft.sim.cocotb.packing import pack, unpack

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
READS = os.environ.get("READS", "rows weights vector_a vector_b store").split()
WRITES = os.environ.get("WRITES", "vector load").split()
LINES = CONFIG.scratchpad_words // 2
DEPTH = LINES // CONFIG.scratchpad_banks


def bank_of(line):
    """What serves one read and one write a cycle: a bank, or its even or odd lines."""
    return line // DEPTH, line % 2 if CONFIG.sparsity == "1:4" else 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_port_at_random(dut):
    """Requests are granted by priority in their bank, reads see earlier writes, data comes READ_LATENCY later."""
    random = Random(cocotb.RANDOM_SEED)
    generator = np.random.default_rng(cocotb.RANDOM_SEED)
    Clock(dut.clk, 2, unit="ns").start()
    ports = {f"{kind}_{name}": {field: getattr(dut, f"{kind}_{name}_{field}") for field in fields}
             for kind, names, fields in (("read", READS, ("valid", "ready", "line", "data")),
                                         ("write", WRITES, ("valid", "ready", "line", "data", "mask")))
             for name in names}
    for port in ports.values():
        port["valid"].value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0

    # A few lines of every bank, so that ports meet.
    lines = [bank * DEPTH + row for bank in range(CONFIG.scratchpad_banks) for row in (0, 1, DEPTH - 1)]
    image = {}
    first_write = ports[f"write_{WRITES[0]}"]
    for line in lines:
        image[line] = generator.integers(0, 256, CONFIG.line_bytes)
        first_write["valid"].value, first_write["line"].value = 1, line
        first_write["data"].value = pack(image[line], 8)
        first_write["mask"].value = (1 << CONFIG.line_bytes) - 1
        await RisingEdge(dut.clk)
    first_write["valid"].value = 0

    expected = []           # (cycle, port, data)
    granted = dict.fromkeys(ports, 0)
    refused = dict.fromkeys(ports, 0)
    for cycle in range(1500):
        rate = (0.2, 0.6, 1.0)[cycle // 500]
        asked = {name: random.choice(lines) for name in ports if random.random() < rate}
        values = {}
        for name, port in ports.items():
            port["valid"].value = int(name in asked)
            if name in asked:
                port["line"].value = asked[name]
                if name.startswith("write"):
                    lanes = generator.integers(0, 2, CONFIG.line_bytes // CONFIG.lane_bytes)
                    values[name] = generator.integers(0, 256, CONFIG.line_bytes), lanes.repeat(CONFIG.lane_bytes)
                    port["data"].value, port["mask"].value = pack(values[name][0], 8), pack(values[name][1], 1)
        await FallingEdge(dut.clk)
        undefined = {line: np.zeros(CONFIG.line_bytes, bool) for line in lines}     # bytes written in this cycle
        for name, (_, mask) in values.items():
            if int(ports[name]["ready"].value):
                undefined[asked[name]] |= mask.astype(bool)
        for kind, names in (("read", READS), ("write", WRITES)):
            busy = set()
            for name in (f"{kind}_{name}" for name in names):
                if name not in asked:
                    continue
                line = asked[name]
                ready = int(ports[name]["ready"].value)
                assert ready == (bank_of(line) not in busy), f"cycle {cycle}: {name} of line {line} ready={ready}"
                busy.add(bank_of(line))
                (granted if ready else refused)[name] += 1
                if ready and kind == "read":
                    expected.append((cycle + READ_LATENCY, name, image[line].copy(), ~undefined[line]))
        for due, name, data, defined in expected:
            if due == cycle:
                found = unpack(ports[name]["data"].value.to_unsigned(), 8, CONFIG.line_bytes, signed=False)
                assert np.array_equal(found[defined], data[defined]), (
                    f"cycle {cycle}: {name} reads {found} instead of {data}")
        expected = [entry for entry in expected if entry[0] > cycle]
        for name, (data, mask) in values.items():
            if int(ports[name]["ready"].value):
                image[asked[name]] = np.where(mask, data, image[asked[name]])
        await RisingEdge(dut.clk)
    assert all(granted.values()) and all(refused[f"read_{name}"] for name in READS[1:]), (granted, refused)
    assert not refused[f"read_{READS[0]}"] and not refused[f"write_{WRITES[0]}"]
