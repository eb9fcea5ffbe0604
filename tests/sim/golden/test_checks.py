"""Every check of the golden model refuses a program that is wrong in just that point, and takes the corrected one."""

import numpy as np
import pytest

from weft.hw.errors import InputError, ProgramError
from weft.sim.golden import GoldenMachine

X = np.arange(256, dtype=np.uint8)


def check(image, message=None):
    if message is None:
        GoldenMachine(image).check()
    else:
        with pytest.raises(ProgramError, match=message):
            GoldenMachine(image).check()


def copy(build, load=None, store=None, words=8):
    b = build(buffers=[("x", "input", 64), ("y", "output", 64)])
    b.load("x", 0, words, **(dict(signal=1) if load is None else load))
    b.store("y", 0, words, **(dict(wait=1) if store is None else store))
    return b


def test_copy_is_legal(build):
    image = copy(build).image()
    result = GoldenMachine(image).run({"x": X[:64]})
    assert result.outputs["y"][:32].tolist() == list(range(32))
    assert result.store_log.addresses.tolist() == [image.buffer("y").offset + 4 * n for n in range(8)]
    assert set(result.store_log.pcs) == {1}


def test_race_between_load_and_store(build):
    check(copy(build, load={}, store={}).image(), r"instruction 1 \(STORE\): reads scratchpad word 0 while the load engine")


def test_write_after_read_race(build):
    b = copy(build).load("x", 0, 8)
    check(b.image(), r"(instruction 2 \(LOAD\): writes scratchpad word 0 while the store engine reads"
          r"|instruction 1 \(STORE\): reads scratchpad word 0 while the load engine writes)")
    b = copy(build, store=dict(wait=1, signal=2)).load("x", 0, 8, wait=2)
    check(b.image())


def test_barrier_orders(build):
    b = build(buffers=[("x", "input", 64), ("y", "output", 64)])
    check(b.load("x", 0, 8).add("BARRIER").store("y", 0, 8).image())


def test_unwritten_scratchpad(build):
    b = build(buffers=[("y", "output", 64)])
    check(b.store("y", 100, 4).image(), r"instruction 0 \(STORE\): reads scratchpad word 100, which nothing has written")


def test_unwritten_memory(build):
    b = build(buffers=[("w", "work", 64)])
    check(b.load("w", 0, 4).image(), r"reads memory byte 0x2000, which nothing has written")


def test_state_is_zero_at_first_and_then_what_the_last_run_left(build):
    b = build(buffers=[("x", "input", 64), ("s", "state", 64), ("y", "output", 64)])
    b.load("s", 0, 4, signal=1).load("x", 8, 4, signal=1).store("y", 0, 4, wait=1).store("s", 8, 4, wait=1)
    machine = GoldenMachine(b.image())
    given = {"x": np.arange(64, dtype=np.uint8)}
    first = machine.run(given)
    assert not first.outputs["y"].any() and first.buffers["s"][:16].tolist() == list(range(16))
    second = machine.run({**given, "s": first.buffers["s"]})
    assert second.outputs["y"][:16].tolist() == list(range(16))


def test_memory_needs_a_token_too(build):
    def program(signal, wait):
        b = build(buffers=[("x", "input", 64), ("w", "work", 64)])
        return b.load("x", 0, 4, signal=1).store("w", 0, 4, wait=1, **signal).load("w", 8, 4, **wait).image()

    check(program({}, {}), r"instruction 2 \(LOAD\): reads memory byte 0x2\w+(, which nothing has| while the store engine)")
    check(program(dict(signal=2), dict(wait=2)))


@pytest.mark.parametrize("target, message", [
    ("x", "lie in no output or work buffer"),
    ("guard", "lie in no output or work buffer"),
    ("constant", "lie in no output or work buffer")])
def test_stores_stay_in_their_buffers(build, target, message):
    b = build(constants=[("c", X)], buffers=[("x", "input", 64), ("y", "output", 64)])
    b.offset["guard"], b.offset["constant"] = b.offset["y"] + 64, 0
    b.load("x", 0, 4, signal=1).store(target, 0, 4, wait=1)
    check(b.image(), rf"instruction 1 \(STORE\): writes 16 bytes of memory from 0x\w+, which {message}")


def test_loads_stay_in_their_buffers(build):
    b = build(buffers=[("x", "input", 64)])
    check(b.load("x", 0, 8, offset=48).image(), "reads 32 bytes of memory from 0x2030, which lie in no buffer")


def test_scratchpad_range(build):
    b = build(buffers=[("x", "input", 64)])
    check(b.load("x", 4090, 8).image(), "writes scratchpad word 4097, the last one is 4095")


def test_misaligned(build):
    b = build(buffers=[("x", "input", 64)])
    check(b.load("x", 0, 4, offset=2).image(), "dram_addr must be a multiple of 4, not 8194")
    b = build(buffers=[("x", "input", 64)], config="small")
    check(b.load("x", 0, 4, offset=4).image(), "dram_addr must be a multiple of 8")


def test_deadlock_names_everyone(build):
    b = build(buffers=[("x", "input", 64), ("y", "output", 64)])
    b.load("x", 0, 4, wait=2, signal=1).store("y", 0, 4, wait=1, signal=2)
    check(b.image(), r"deadlock: the dispatcher waits for the engines in instruction 2 \(END\); the load engine waits for "
          r"semaphore 2 in instruction 0 \(LOAD\); the store engine waits for semaphore 1 in instruction 1 \(STORE\)")


def test_deadlock_of_a_full_queue(build):
    b = build()
    for _ in range(5):
        b.add("LOAD_SYNC", wait=1, wait_count=1)
    b.add("STORE_SYNC", signal=1, signal_count=5)
    check(b.image(), r"deadlock: the dispatcher waits for a place in the engine's queue in instruction 4")


def test_token_overflow(build):
    b = build()
    b.add("LOAD_SYNC", signal=1, signal_count=200).add("LOAD_SYNC", signal=1, signal_count=55)
    b.add("STORE_SYNC", wait=1, wait_count=255)
    check(b.image())
    b.add("LOAD_SYNC", signal=1, signal_count=1)
    check(b.image(), r"semaphore 1 can pass 255: 256 tokens signalled, 0 certainly consumed")
    # The same, after the load engine knows that some have been consumed.
    b.code[3:] = [("STORE_SYNC", dict(signal=2, signal_count=1)), ("LOAD_SYNC", dict(wait=2, wait_count=1)),
                  ("LOAD_SYNC", dict(signal=1, signal_count=1))]
    check(b.image())


def test_tokens_cannot_pile_up_behind_more_instructions_than_a_queue_holds(build):
    # Nobody tells the load engine that tokens are consumed, but the dispatcher waits for a place in the store queue.
    b = build()
    for _ in range(100):
        b.add("LOAD_SYNC", signal=1, signal_count=3).add("STORE_SYNC", wait=1, wait_count=3)
    check(b.image())
    # Most stores may still wait when loads come in larger numbers.
    b = build()
    for _ in range(20):
        b.add("LOAD_SYNC", signal=1, signal_count=50).add("STORE_SYNC", wait=1, wait_count=50)
    check(b.image(), r"semaphore 1 can pass 255: \d+ tokens signalled, \d+ certainly consumed")


def test_one_consumer(build):
    b = build().add("LOAD_SYNC", signal=1, signal_count=2).add("STORE_SYNC", wait=1, wait_count=1)
    b.add("VECTOR_SYNC", wait=1, wait_count=1)
    check(b.image(), r"consumes from semaphore 1, which the (store|vector) engine consumes from")


def test_producers_must_be_ordered(build):
    b = build().add("LOAD_SYNC", signal=1, signal_count=1).add("VECTOR_SYNC", signal=1, signal_count=1)
    b.add("STORE_SYNC", wait=1, wait_count=2)
    check(b.image(), r"signals semaphore 1 at the same time as the (load|vector) engine")
    b.code.insert(1, ("BARRIER", {}))
    check(b.image())


def test_endless_program(build, monkeypatch):
    monkeypatch.setattr("weft.sim.golden.trace.STEP_LIMIT", 1000)
    check(build().add("BRANCH", offset=-1).image(), "has not ended after 1000 instructions")


def test_leaving_the_program(build):
    check(build().add("BRANCH", offset=5).image(), "continues at instruction 6, it has 2")
    check(build().add("CALC").image(end=False), "continues at instruction 1, it has 1")


def test_illegal_opcode(build):
    b = build()
    image = b.image()
    image.constant[b.code_offset] = 0x7F
    check(image, r"instruction 0: illegal opcode 0x7f")


def gemm(build, a_wait=1, w_wait=2, acc_signal=3, src_wait=3, dst_signal=4, store_wait=4, bias=0, **more):
    """y = x @ w requantized: x int8[3, 4] at word 0, one weight tile at word 16, records at word 32."""
    record = np.array([bias & 0xFFFFFFFF, 1 | 1 << 18], "<u4")
    b = build([("w", np.ones(16, np.int8)), ("p", np.tile(record, 4))], [("x", "input", 16), ("y", "output", 16)])
    b.load("w", 16, 4, signal=2).load("x", 0, 4, signal=1).load("p", 32, 8, signal=5)
    fields = dict(rows=3, k_tiles=1, n_tiles=1, a_base=0, w_base=16, chunk_tiles=1, a_wait=a_wait, w_wait=w_wait,
                  acc_signal=acc_signal)
    b.add("MATMUL", **{**fields, **more})
    b.add("VECTOR_SYNC", wait=5, wait_count=1)
    b.add("REQUANT", src_type=3, src_row_stride=1, dst_base=40, dst_row_stride=1, rows=3, tiles=1, param_base=32,
          src_wait=src_wait, dst_signal=dst_signal)
    return b.store("y", 40, 3, wait=store_wait)


def test_gemm(build):
    x = np.arange(16, dtype=np.uint8)
    result = GoldenMachine(gemm(build).image()).run({"x": x})
    sums = x.reshape(4, 4)[:3].sum(axis=1)
    assert result.outputs["y"][:12].reshape(3, 4).tolist() == [[(s + 1) // 2] * 4 for s in sums]
    assert result.macs == 48


def test_gemm_races(build):
    check(gemm(build, a_wait=0).image(), r"\(MATMUL\): reads scratchpad word 0 while the load engine")
    check(gemm(build, w_wait=0).image(), r"\(MATMUL\): reads scratchpad word 16 while the load engine")
    check(gemm(build, acc_signal=0, src_wait=0).image(),
          r"\(REQUANT\): reads accumulator word 0(, which nothing has written| while the row streamer)")
    check(gemm(build, dst_signal=0, store_wait=0).image(),
          r"\(STORE\): reads scratchpad word 40(, which nothing has written| while the vector engine)")


def test_loaded_weights_do_not_order_the_rows(build):
    b = gemm(build, a_wait=0)
    # x before w: what the weight loader waits for comes after x too, but rows are read ahead of their tile.
    b.code[0], b.code[1] = b.code[1], b.code[0]
    check(b.image(), r"\(MATMUL\): reads scratchpad word 0 while the load engine")


def test_signal_after_the_last_read_does_not_cover_results(build):
    check(gemm(build, acc_signal=0, a_signal=3).image(), r"\(REQUANT\): reads accumulator word 0 while the row streamer")


def test_ring_slot_reuse(build):
    def program(free):
        b = build([("w", np.ones(64, np.int8))], [("x", "input", 16)])
        b.load("x", 0, 4, signal=1)
        if free:
            b.add("TENSOR_SYNC", signal=3, signal_count=2)
        b.add("LOAD", dram_addr=b.offset["w"], spm_addr=16, run_words=4, inner_count=1, outer_count=4, outer_dram_stride=16,
              outer_spm_stride=4, ring_slots=2, signal=2, signal_each=1, **(dict(wait=3, wait_each=1) if free else {}))
        b.add("MATMUL", rows=4, k_tiles=1, n_tiles=4, w_base=16, chunk_tiles=1, ring_slots=2, acc_stride=4, a_wait=1,
              w_wait=2, w_signal=3 if free else 0)
        return b.image()

    check(program(True))
    check(program(False), r"scratchpad word \d+ while the")


def test_unwritten_accumulators(build):
    check(gemm(build, accumulate=1).image(), r"\(MATMUL\): reads accumulator word 0, which nothing has written")


def test_accumulator_overflow(build):
    image = gemm(build, bias=2 ** 31 - 1).image()
    GoldenMachine(image).run({"x": np.zeros(16, np.uint8)})
    with pytest.raises(ProgramError, match=r"\(REQUANT\): sum with the bias of row 0, channel 0 overflows int32"):
        GoldenMachine(image).run({"x": np.ones(16, np.uint8)})


def test_state_must_be_there(build):
    b = build([("p", np.zeros(32, np.uint8))])
    b.load("p", 0, 16, signal=1)
    b.add("NORM", src_base=0, src_row_stride=2, src_panel_stride=2, dst_base=8, dst_row_stride=1, rows=1, tiles=1, features=4,
          param_base=0, src_wait=1)
    check(b.image(), r"\(NORM\): state row 0 holds no row statistics")


def test_fields_that_make_no_sense(build):
    check(build().add("LOAD", run_words=4, inner_count=1).image(), r"\(LOAD\): outer_count must be at least 1")
    check(gemm(build, rescale=1).image(), "rescale needs accumulate")
    check(build().add("MATMUL", rows=1, k_tiles=1, n_tiles=1).image(), r"\(MATMUL\): chunk_tiles must be at least 1")
    check(build().add("REQUANT", rows=1, tiles=1, dst_type=3).image(), "dst_type must be INT8, UINT8 or INT16")
    check(build().add("REQUANT", rows=1, tiles=1, src_base=2, src_type=1, dst_base=1, dst_type=2).image(),
          "dst_base must be a multiple of 2")
    check(build().add("STATS", rows=1, tiles=1, features=5).image(), "features must be from 1 to 4, not 5")


def test_overlapping_destination(build):
    b = build([("p", X)])
    b.load("p", 0, 64, signal=1)
    b.add("REQUANT", src_base=0, src_row_stride=1, dst_base=1, dst_row_stride=1, rows=4, tiles=1, param_base=32, src_wait=1)
    check(b.image(), "the destination overlaps the operand src at another place")


def test_gather_row_out_of_range(build):
    b = build([("table", X)], [("ids", "input", 16)])
    b.add("INDEX", dram_addr=b.offset["ids"], count=2)
    b.add("GATHER", dram_addr=b.offset["table"], dram_stride=16, spm_addr=0, spm_stride=4, run_words=4, count=2)
    image = b.image()
    GoldenMachine(image).run({"ids": np.array([15, 0, 0, 0], "<i4").view(np.uint8)})
    with pytest.raises(ProgramError, match=r"\(GATHER\): gathers row -1"):
        GoldenMachine(image).run({"ids": np.array([3, -1, 0, 0], "<i4").view(np.uint8)})


def test_inputs(build):
    machine = GoldenMachine(copy(build).image())
    with pytest.raises(InputError, match="input 'x' is missing"):
        machine.run({})
    with pytest.raises(InputError, match="no input 'z'"):
        machine.run({"x": X[:64], "z": X})
    with pytest.raises(InputError, match=r"'x' must be uint8\[64\]"):
        machine.run({"x": X[:60]})
