"""The accumulators against NumPy: overwrite, add and rescale at the shortest distances, vector reads in between."""

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
from weft.sim.numerics import rescaled

CONFIG = Config.from_dict(json.loads(os.environ.get("WEFT_CONFIG", '{"rows": 4, "cols": 4}')))
SUM_BITS = 17 + (CONFIG.rows - 1).bit_length()
WORDS = CONFIG.accumulator_words
DEPTH = WORDS // CONFIG.accumulator_banks
LATENCY, SUMS_AFTER = 4, 4


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def results_and_reads_at_random(dut):
    random = Random(cocotb.RANDOM_SEED)
    generator = np.random.default_rng(cocotb.RANDOM_SEED)
    Clock(dut.clk, 2, unit="ns").start()
    handles = {name: getattr(dut, f"results_{name}")
               for name in ("valid", "address", "accumulate", "rescale", "distance", "sums", "token")}
    handles["valid"].value = 0
    dut.vector_valid.value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0

    image = {}              # address: int64[cols], as it will be when everything is written
    written = {}            # address: first cycle in which it can be read
    reads, tokens = [], {}
    coming = [0] * SUMS_AFTER       # sums of the results of the last cycles
    refused = compared = 0
    addresses = sorted({bank * DEPTH + row for bank in range(CONFIG.accumulator_banks) for row in (0, 1, 2, DEPTH - 1)})
    for cycle in range(2000):
        free = [address for address in addresses if written.get(address, 0) <= cycle]
        valid = random.random() < (0.3 if cycle < 1000 else 1.0)
        handles["valid"].value = int(valid)
        array_bank = None
        if valid:
            address = random.choice(free)
            accumulate = address in image and random.random() < 0.8
            rescale, distance = random.getrandbits(1), random.randrange(34)
            limit = 1 << SUM_BITS - 1
            sums = generator.integers(-limit, limit, CONFIG.cols)
            token = random.choice((0, random.randrange(32)))
            for name, value in dict(address=address, accumulate=int(accumulate), rescale=rescale, distance=distance,
                                    token=token).items():
                handles[name].value = value
            before = 0
            if accumulate:
                before = rescaled(image[address], distance) if rescale else image[address]
                array_bank = address // DEPTH
            image[address] = (before + sums + (1 << 31)) % (1 << 32) - (1 << 31)
            written[address] = cycle + LATENCY
            tokens[cycle + LATENCY] = token
        coming.append(pack(sums, SUM_BITS) if valid else random.getrandbits(SUM_BITS * CONFIG.cols))
        handles["sums"].value = coming.pop(0)
        # Only words that are not being changed may be read.
        readable = [a for a in image if written[a] <= cycle]
        dut.vector_valid.value = int(bool(readable))
        if readable:
            wanted = random.choice(readable)
            dut.vector_address.value = wanted
        await FallingEdge(dut.clk)
        if readable:
            ready = int(dut.vector_ready.value)
            assert ready == (wanted // DEPTH != array_bank), f"cycle {cycle}"
            refused += not ready
            if ready:
                reads.append((cycle + READ_LATENCY, wanted, image[wanted].copy()))
        for due, where, data in reads:
            if due == cycle:
                found = unpack(dut.vector_data.value.to_unsigned(), 32, CONFIG.cols)
                assert np.array_equal(found, data), f"cycle {cycle}: word {where} is {found} instead of {data}"
                compared += 1
        reads = [entry for entry in reads if entry[0] > cycle]
        signal = int(dut.acc_signal_id.value) if int(dut.acc_signal_valid.value) else 0
        assert signal == tokens.get(cycle, 0), f"cycle {cycle}: token {signal}"
        await RisingEdge(dut.clk)
    assert refused > 50 and compared > 500
