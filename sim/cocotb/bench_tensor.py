"""The tensor engine with scratchpad and accumulators, driven by instructions, against NumPy."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from weft.hw import isa
from weft.hw.interfaces import READ_LATENCY, ThreadState
from weft.hw.memory.accumulators import Accumulators
from weft.sim.cocotb.packing import unpack
from weft.sim.cocotb.tensor_bench import CONFIG, HALF, WORDS, TensorBench


def test_of(option):
    """`cocotb.test` of what the configuration has only with an option: one that is only skipped runs when a filter names it."""
    return cocotb.test(timeout_time=1, timeout_unit="ms") if option else lambda function: function


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_products(dut):
    """Random products, back to back, with random stalls of the scratchpad."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    for bench.stall_rate in (0.0, 0.5, 0.95):
        for _ in range(30):
            mnemonic, fields = bench.product()
            await bench.run(mnemonic, **fields)
            if bench.random.random() < 0.2:
                await bench.step(bench.random.randrange(40))
        await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def full_rate(dut):
    """Operands in different banks: a tile takes as long as its rows or its weights' steps, across K, N and instruction
    boundaries."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    if CONFIG.scratchpad_banks == 1:
        return          # moving and stationary operand share the bank
    products = [("MATMUL", CONFIG.weight_steps), ("MATMUL_KT", CONFIG.cols), ("MATMUL_V", CONFIG.rows)]
    for mnemonic, steps in products + [("MATMUL_C", CONFIG.cols)] * bool(CONFIG.circulant):
        for rows in (1, 2, steps, steps + 3):
            fields = bench.product(mnemonic)[1]
            k_tiles, n_tiles = 2, 2
            words = max(k_tiles * rows, k_tiles * n_tiles * CONFIG.weight_tile_words, 2 * max(CONFIG.rows, CONFIG.cols) + 2)
            if words > HALF or n_tiles * rows + 5 > CONFIG.accumulator_words:
                continue
            fields.update(rows=rows, k_tiles=k_tiles, k_offset=0, n_tiles=n_tiles, k_outer=0, a_base=0, a_panel_stride=rows,
                          acc_base=5, acc_stride=rows, accumulate=0, rescale=0, w_base=HALF, w_limit=1000, w_panel_stride=2)
            if mnemonic == "MATMUL":
                fields.update(chunk_tiles=4, ring_slots=0, ring_start=0, w_format=0, k_missing=0)
                del fields["w_limit"], fields["w_panel_stride"]
            elif mnemonic == "MATMUL_C":
                del fields["w_limit"]
            instructions, started = 5, None
            total = instructions * k_tiles * n_tiles * rows
            before = int(dut.row_count.value)
            feeding = cocotb.start_soon(feed(bench, instructions, mnemonic, fields))
            finished = None
            for _ in range(40 + 2 * instructions * k_tiles * n_tiles * max(rows, CONFIG.rows, CONFIG.cols)):
                await FallingEdge(dut.clk)
                done = int(dut.row_count.value) - before
                if done and started is None:
                    started = bench.cycle
                if done == total and finished is None:
                    finished = bench.cycle
                await bench.step()
            await feeding
            expected = rows - 1
            for tile in range(1, instructions * k_tiles * n_tiles):
                shift = steps
                if mnemonic == "MATMUL" and CONFIG.weight_rows_per_word == 1 and tile % 4 * CONFIG.weight_tile_words % 2:
                    shift = CONFIG.rows         # pairs of rows in different lines
                # Sums are written four cycles after they were read, before they are added to again.
                expected += max(rows, shift, Accumulators.LATENCY if tile % k_tiles else 0)
            assert finished is not None and finished - started == expected, (
                f"{mnemonic} with {rows} rows: {finished} - {started} cycles instead of {expected}")
            await bench.check()


@test_of(CONFIG.four_bit)
async def four_bit_rate(dut):
    """A tile of 4-bit weights takes as many cycles as one of 8 bits, and a word of scales one more."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    if CONFIG.scratchpad_banks == 1:
        return          # moving and stationary operand share the bank
    for group in (0, 1, 2):
        # Two words of scales for each N tile.
        k_tiles, n_tiles = 2 * CONFIG.scale_rows_per_word * group or CONFIG.scale_rows_per_word, 2
        words = k_tiles * n_tiles * CONFIG.four_bit_tile_words
        if max(words + 2 * n_tiles, k_tiles) > min(HALF, WORDS):
            continue
        fields = bench.product("MATMUL")[1]
        fields.update(rows=1, k_tiles=k_tiles,
                      k_offset=0, n_tiles=n_tiles, k_outer=0, a_base=0, a_panel_stride=1, acc_base=5, acc_stride=1,
                      accumulate=0, rescale=0, w_base=HALF, chunk_tiles=k_tiles * n_tiles, ring_slots=0, ring_start=0,
                      w_format=1, w_group=group, s_base=HALF + words)
        taken = await bench.duration(fields)
        # The first word of scales has been taken when the first row streams.
        expected = (k_tiles * n_tiles - 1) * max(CONFIG.weight_steps, Accumulators.LATENCY) + 2 * n_tiles - 1
        assert taken <= expected, f"groups of {group}: {taken} cycles, at most {expected} expected"
        await bench.check()


@test_of(CONFIG.sparsity)
async def sparse_rate(dut):
    """A tile of sparse weights takes as long as its rows: as a dense one, for several times as many features."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    if CONFIG.scratchpad_banks == 1:
        return          # moving and stationary operand share the bank
    steps = CONFIG.weight_steps + CONFIG.sparse_index_lines
    for number in CONFIG.weight_formats:
        for rows in (1, 2, 3, 2 * steps, 2 * steps + 2, 8 * steps) if number in isa.SPARSE_PANELS else ():
            for stride in (rows + rows % 2, rows + rows % 2 + 4):
                panels = isa.SPARSE_PANELS[number]
                k_tiles = n_tiles = 3
                if (panels * k_tiles * stride > HALF or k_tiles * n_tiles * CONFIG.sparse_tile_words > min(HALF, WORDS)
                        or n_tiles * rows + 5 > CONFIG.accumulator_words):
                    continue
                fields = bench.product("MATMUL")[1]
                fields.update(rows=rows, k_tiles=k_tiles,
                              k_offset=0, n_tiles=n_tiles, k_outer=0, a_base=0, a_panel_stride=stride, acc_base=5,
                              acc_stride=rows, accumulate=0, rescale=0, w_base=HALF, chunk_tiles=9, ring_slots=0, ring_start=0,
                              w_format=number, k_missing=0, w_group=0, s_base=0)
                taken = await bench.duration(fields)
                expected, shortest = rows - 1, Accumulators.LATENCY - 1
                for tile in range(1, k_tiles * n_tiles):
                    # Two and three rows that add to the same words wait for those to be written.
                    again = shortest + rows if tile % k_tiles and rows <= shortest else 0
                    # Lines of two rows: of one panel after the other, each port.
                    expected += max(rows, steps, again, 2 * -(-rows // 2))
                # Both ports may be out of step at first.
                slack = 8 if panels > 2 else 2
                assert taken <= expected + slack, (
                    f"format {number}, {rows} rows, {stride} apart: {taken} cycles, {expected} expected")
                await bench.check()


@test_of(CONFIG.sparsity)
async def short_sparse_passes(dut):
    """Two and three rows over the same accumulators, while the port of the last panels is refused now and then."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    for rows in (2, 3) * 6:
        number = bench.random.choice([number for number in CONFIG.weight_formats if number in isa.SPARSE_PANELS])
        k_tiles, panels = 12, 12 * isa.SPARSE_PANELS[number]
        fields = bench.product("MATMUL")[1]
        fields.update(rows=rows, k_tiles=k_tiles,
                      k_offset=0, n_tiles=1, k_outer=0, a_base=bench.random.randrange(8), a_panel_stride=rows,
                      acc_base=5, acc_stride=rows, accumulate=0, rescale=0, w_base=HALF, chunk_tiles=k_tiles, ring_slots=0,
                      ring_start=0, w_format=number, k_missing=0, w_group=0, s_base=0)
        bench.stall_rate, bench.stall_lines = bench.random.choice((0.2, 0.5)), panels * rows // 2
        await bench.run("MATMUL", **fields)
        await bench.idle()
    bench.stall_rate = 0.0
    await bench.step()
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def crowded_accumulators(dut):
    """Short products over few accumulators, behind a long one so that their passes wait in line and come without gaps."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    for _ in range(100):
        rows = 2 * CONFIG.rows + 20
        fields = bench.product("MATMUL")[1]
        fields.update(w_format=0, k_missing=0, rows=rows, k_tiles=1, k_offset=0, n_tiles=1, a_base=0, a_panel_stride=rows,
                      acc_base=0, acc_stride=rows, accumulate=0, rescale=0, w_base=HALF, chunk_tiles=1, ring_slots=0,
                      ring_start=0)
        await bench.run("MATMUL", **fields)
        for _ in range(8):
            rows = bench.random.choice((1, 1, 2, 2, 3, 4))
            fields.update(rows=rows, k_tiles=bench.random.choice((1, 1, 1, 2)), n_tiles=bench.random.choice((1, 2, 3)),
                          k_outer=bench.random.getrandbits(1), a_base=bench.random.randrange(8), a_panel_stride=rows,
                          acc_base=bench.random.randrange(6), acc_stride=bench.random.choice((1, rows, rows)),
                          accumulate=bench.random.choice((0, 1, 1, 1)), chunk_tiles=6)
            await bench.run("MATMUL", **fields)
        await bench.check()


async def feed(bench, count, mnemonic, fields):
    dut = bench.dut
    word = isa.encode(mnemonic, **fields)
    dut.instructions_valid.value, dut.instructions_payload.value = 1, word
    while count:
        await FallingEdge(dut.clk)
        ready = int(dut.instructions_ready.value)
        await RisingEdge(dut.clk)
        count -= ready
        if ready:
            bench.model.execute(mnemonic, **fields)
    dut.instructions_valid.value = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def chunks_through_a_ring(dut):
    """Weights come in chunks through a ring while the product runs; a slot is rewritten when its token says so."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    ready, free = 3, 4
    chunk_tiles, slots, start = 2, 3, 2
    tiles = 2 * min(6, HALF // (2 * CONFIG.weight_tile_words)) - 1
    words = chunk_tiles * CONFIG.weight_tile_words
    chunks = -(-tiles // chunk_tiles)
    base = HALF
    weights = bench.generator.integers(0, 256, (chunks, words, CONFIG.word_bytes), dtype=np.uint8)
    fields = bench.product("MATMUL")[1]
    fields.update(w_format=0, k_missing=0, rows=3, k_tiles=tiles,
                  k_offset=0, n_tiles=1, a_base=4, a_panel_stride=3, acc_base=7, accumulate=1, rescale=0,
                  chunk_tiles=chunk_tiles, w_wait=ready, w_signal=free)
    await bench.issue("MATMUL", **fields | {"w_base": base, "ring_slots": slots, "ring_start": start})
    for chunk in range(chunks):
        while chunk >= slots and bench.counts()[free] < chunk - slots + 1:
            await bench.step()
        # Whole lines: the neighbours' words are written as they are.
        image = bench.model.scratchpad
        first = base + (start + chunk) % slots * words
        image[first:first + words] = weights[chunk]
        for line in range(first // 2, (first + words + 1) // 2):
            await bench.write_line(line, image[2 * line:2 * line + 2])
        await bench.step(bench.random.randrange(30))
        assert bench.counts()[ready] == 0
        await bench.give(ready)
    await bench.idle()
    assert bench.counts()[free] == chunks and bench.counts()[ready] == 0
    # The model finds all chunks one after the other.
    image[base:base + chunks * words] = weights.reshape(-1, CONFIG.word_bytes)
    bench.model.execute("MATMUL", **fields | {"w_base": base, "ring_slots": 0, "ring_start": 0})
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def tokens_of_rows_and_accumulators(dut):
    """Each K panel waits for its token and each N tile for its accumulators; signals come when they should."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    panels, n_tiles, rows = 3, 2, 3
    for k_outer in (0, 1):
        fields = bench.product("MATMUL")[1]
        fields.update(w_format=0, k_missing=0, rows=rows, k_tiles=panels * CONFIG.k_tiles_per_panel,
                      k_offset=0, n_tiles=n_tiles, k_outer=k_outer,
                      a_base=8, a_panel_stride=4, acc_base=3, acc_stride=rows, accumulate=1, rescale=0, chunk_tiles=1,
                      ring_slots=1, ring_start=0, w_base=100,
                      a_wait=5, a_wait_each=1, a_signal=6, acc_wait=7, acc_wait_each=1, acc_signal=8, acc_signal_each=1)
        before = bench.counts()
        await bench.issue("MATMUL", **fields)
        await bench.give(7)
        for panel in range(panels):
            await bench.step(60)
            counts = bench.counts()
            assert counts[5] == 0 and counts[6] == before[6] and counts[8] == before[8]
            state = int(dut.tensor_status_state.value), int(dut.tensor_status_semaphore.value)
            assert state == (ThreadState.WAIT_TOKEN.value, 5), state
            first = 8 + 4 * panel
            fresh = bench.generator.integers(0, 256, (4, CONFIG.word_bytes), dtype=np.uint8)
            bench.model.scratchpad[first:first + 4] = fresh
            for line in (0, 1):
                await bench.write_line(first // 2 + line, fresh[2 * line:2 * line + 2])
            await bench.give(5)
            if k_outer and panel == 0:
                # The second N tile's accumulators are not free yet.
                await bench.step(60)
                assert int(dut.tensor_status_semaphore.value) == 7
                await bench.give(7)
                await bench.step(60)
        if not k_outer:
            await bench.step(100)
            counts = bench.counts()
            assert counts[8] == before[8] + 1 and int(dut.tensor_status_semaphore.value) == 7
            await bench.give(7)
        await bench.idle()
        counts = bench.counts()
        assert counts[5] == 0 and counts[7] == 0
        assert counts[6] == before[6] + 1 and counts[8] == before[8] + n_tiles
        bench.model.execute("MATMUL", **fields)
        await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def signal_comes_after_the_write(dut):
    """The accumulators hold the result in the first cycle in which the token can be seen."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    for trial in range(6):
        fields = bench.product("MATMUL")[1]
        fields.update(w_format=0, k_missing=0, rows=2, k_tiles=1 + trial % 2,
                      k_offset=0, n_tiles=1, acc_base=9, acc_stride=2, acc_signal=1 + trial,
                      rescale=0)
        await bench.run("MATMUL", **fields)
        while not bench.counts()[1 + trial]:
            await FallingEdge(dut.clk)
        dut.vector_valid.value, dut.vector_address.value = 1, 10
        await bench.step(READ_LATENCY)
        await FallingEdge(dut.clk)
        found = unpack(dut.vector_data.value.to_unsigned(), 32, CONFIG.cols)
        assert np.array_equal(found, bench.model.accumulators[10])
        dut.vector_valid.value = 0
        await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sync(dut):
    """TENSOR_SYNC holds both threads until it has its tokens, and adds its own."""
    bench = TensorBench(dut, cocotb.RANDOM_SEED)
    await bench.start()
    first, second = (bench.product("MATMUL") for _ in range(2))
    await bench.run(first[0], **first[1])
    await bench.issue("TENSOR_SYNC", wait=9, wait_count=3, signal=10, signal_count=4)
    await bench.issue("TENSOR_SYNC", wait=0, wait_count=0, signal=11, signal_count=1)
    following = cocotb.start_soon(bench.run(second[0], **second[1] | {"w_signal": 12}))
    await bench.give(9, 2)
    await bench.step(2000)
    counts = bench.counts()
    assert counts[9:13] == [0, 0, 0, 0], counts
    assert int(dut.tensor_status_state.value) == ThreadState.WAIT_TOKEN.value
    await bench.give(9)
    await following
    await bench.check()
    assert bench.counts()[9:12] == [0, 4, 1]
