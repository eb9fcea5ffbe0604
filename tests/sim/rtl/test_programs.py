"""Programs on the RTL: random ones against the golden model, errors, a program that never ends, and a broken RTL."""

import dataclasses
import re

import numpy as np
import pytest

from weft.hw.config import Config
from weft.hw.errors import InputError, Mismatch, ProgramError, RunError
from weft.hw.image import Image
from weft.hw.isa import INSTRUCTIONS, encode_program
from weft.sim.compare import compare, run_both
from weft.sim.fuzz import random_image, random_program
from weft.sim.fuzz.campaign import failure, replay, save, shrink
from weft.sim.golden import GoldenMachine, order
from weft.sim.rtl import RtlMachine
from weft.sim.rtl.library import sources_of

CONFIGS = {"tiny": Config.named("tiny"), "8x12": Config(rows=8, cols=12, four_bit=True, circulant=(4,))}
LIMIT = 1_000_000


@pytest.fixture
def machines(rtl_machine):
    """``machines(name)``: the RTL of a configuration."""
    return lambda name: rtl_machine(CONFIGS[name])


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_random_programs_are_equal(machines, first):
    written = 0
    for seed in range(first, first + 10):
        image, inputs = random_image(CONFIGS["tiny"], seed)
        golden = GoldenMachine(image).run(inputs)
        for memory in ("reference", "stress"):
            rtl = machines("tiny").run(image, inputs, memory=memory, seed=seed, limit_cycles=LIMIT)
            written += compare(image, golden, rtl)
    assert written > 100


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_programs_are_equal_when_not_square(machines, first):
    for seed in range(first, first + 10):
        image, inputs = random_image(CONFIGS["8x12"], seed)
        run_both(image, inputs, machines("8x12"), memory="stress" if seed % 2 else "reference", seed=seed,
                 limit_cycles=LIMIT)


def program(*instructions, config="tiny"):
    code = encode_program([*instructions, ("END", {})])
    constant = np.concatenate([np.zeros(128, np.uint8), code])
    return Image(CONFIGS[config], constant, 8192, 128, len(instructions) + 1, [], ["layer"] * len(instructions))


def test_cycles_and_states_are_counted(machines):
    stats = machines("tiny").run(program(("BARRIER", {})), {}).stats
    # Fetching comes first: 64 cycles to the first beat.
    assert 64 < stats["cycles"] < 200
    assert stats["dram_read_bytes"] >= 64 and stats["dram_write_bytes"] == 0
    assert set(stats["engines"]) == {"load", "weights", "tensor", "vector", "store"}
    loads = [("LOAD", dict(run_words=32, inner_count=1, outer_count=20))]
    busy = machines("tiny").run(program(*loads), {}).stats["engines"]["load"]
    assert busy["busy"] >= 20 * 32


def test_illegal_instruction(machines):
    image = program(("CALC", {}), ("CALC", {}))
    image.constant[128 + 32] = 0x66
    with pytest.raises(RunError, match=r"stopped with ILLEGAL_INSTRUCTION at instruction 1 \(layer\)"):
        machines("tiny").run(image, {})


@pytest.mark.parametrize("mnemonic", [name for name, i in INSTRUCTIONS.items() if (i.counts or i.has_ring) and not i.option])
def test_illegal_fields(machines, mnemonic):
    instruction = INSTRUCTIONS[mnemonic]
    legal = dict.fromkeys(instruction.counts, 1)
    illegal = [{**legal, name: 0} for name in instruction.counts]
    if instruction.has_ring:
        illegal += [{**legal, "ring_slots": 2, "ring_start": 2}, {**legal, "ring_slots": 1, "ring_start": 63}]
    if instruction.has_k_offset:
        illegal += [{**legal, "k_offset": number} for number in (1, 15)]
    illegal += [{**legal, f.name: 1} for f in instruction.field_list if f.option]      # of options that tiny lacks
    assert instruction.violation(dict.fromkeys(instruction.fields, 0) | legal, CONFIGS["tiny"]) is None
    for fields in illegal:
        image = program(("CALC", {}), ("BARRIER", {}), (mnemonic, fields))
        with pytest.raises(RunError, match=r"stopped with ILLEGAL_INSTRUCTION at instruction 2 \(layer\)"):
            machines("tiny").run(image, {})
        with pytest.raises(ProgramError, match=rf"instruction 2 \({mnemonic}\): "):
            GoldenMachine(image).run({})


def test_illegal_start_within_a_panel(machines):
    image = program(("MATMUL", dict(rows=1, k_tiles=1, n_tiles=1, chunk_tiles=1, k_offset=2)), config="8x12")
    with pytest.raises(RunError, match=r"stopped with ILLEGAL_INSTRUCTION at instruction 0 \(layer\)"):
        machines("8x12").run(image, {})
    with pytest.raises(ProgramError, match="k_offset is 2, a panel has 2 K tiles"):
        GoldenMachine(image).run({})


@pytest.mark.parametrize("config, block, message", [
    ("tiny", 4, "the configuration is without circulant"), ("8x12", 8, "block is 8, the configuration takes 4"),
    ("8x12", 0, "block is 0, the configuration takes 4")])
def test_illegal_circulant_blocks(machines, config, block, message):
    image = program(("MATMUL_C", dict(rows=1, k_tiles=1, n_tiles=1, block=block)), config=config)
    with pytest.raises(RunError, match=r"stopped with ILLEGAL_INSTRUCTION at instruction 0 \(layer\)"):
        machines(config).run(image, {})
    with pytest.raises(ProgramError, match=message):
        GoldenMachine(image).run({})


def test_illegal_order_of_four_bit_weights(machines):
    image = program(("MATMUL", dict(rows=1, k_tiles=1, n_tiles=1, chunk_tiles=1, k_outer=1, w_format=1)), config="8x12")
    with pytest.raises(RunError, match=r"stopped with ILLEGAL_INSTRUCTION at instruction 0 \(layer\)"):
        machines("8x12").run(image, {})
    with pytest.raises(ProgramError, match="k_outer must be 0 where w_format is 1"):
        GoldenMachine(image).run({})


@pytest.mark.parametrize("memory", ["reference", "stress"])
def test_read_error(machines, memory):
    image = program(("LOAD_SYNC", {}), ("LOAD", dict(run_words=4, inner_count=1, outer_count=1)))
    with pytest.raises(RunError, match=r"stopped with READ_ERROR at instruction 1 \(layer\)"):
        machines("tiny").run(image, {}, memory=memory, errors=(0, 4))


def test_write_error(machines):
    for seed in range(3):
        image, inputs = random_image(CONFIGS["tiny"], seed)
        log = GoldenMachine(image).run(inputs).store_log
        start = int(log.addresses[0])
        with pytest.raises(RunError, match=rf"stopped with WRITE_ERROR at instruction {log.pcs[0]}"):
            machines("tiny").run(image, inputs, errors=(start, start + 4))


def test_token_overflow(machines):
    with pytest.raises(RunError, match="stopped with TOKEN_OVERFLOW at instruction 1"):
        machines("tiny").run(program(("LOAD_SYNC", dict(signal=3, signal_count=200)),
                                     ("LOAD_SYNC", dict(signal=3, signal_count=56))), {})
    # Its instruction, although the thread has gone on when it is looked up.
    with pytest.raises(RunError, match="stopped with TOKEN_OVERFLOW at instruction 1"):
        machines("tiny").run(program(("LOAD_SYNC", dict(signal=3, signal_count=255)), ("LOAD_SYNC", dict(signal=3, signal_count=1)),
                                     *[("LOAD_SYNC", dict(signal=4, signal_count=1))] * 6), {})


def test_a_counter_may_be_full(machines):
    """255 tokens, of which one is consumed before the next comes, again and again."""
    turn = [("STORE_SYNC", dict(wait=3, wait_count=1, signal=4, signal_count=1)),
            ("LOAD_SYNC", dict(wait=4, wait_count=1, signal=3, signal_count=1))]
    image = program(("LOAD_SYNC", dict(signal=3, signal_count=255)), *turn * 30,
                    ("STORE_SYNC", dict(wait=3, wait_count=255)))
    GoldenMachine(image).run({})
    machines("tiny").run(image, {})
    # The same without waiting for the token that is consumed.
    turn[1][1].update(wait=0)
    image = program(("LOAD_SYNC", dict(signal=3, signal_count=255)), *turn)
    with pytest.raises(ProgramError, match="semaphore 3 can pass 255"):
        GoldenMachine(image).run({})


@pytest.mark.parametrize("config", CONFIGS)
def test_instructions_that_have_left_a_queue_without_their_tokens(machines, config):
    """No more than the golden model reckons with when it bounds the token counters."""
    depth = CONFIGS[config].queue_depth
    for mnemonic, instruction in INSTRUCTIONS.items():
        if instruction.available(CONFIGS["tiny"]) != (config == "tiny"):        # 8x12: those that tiny lacks
            continue
        fields = dict.fromkeys(instruction.counts, 1) | ({"block": 4} if instruction.has_blocks else {})
        for name in instruction.fields:
            if not name.endswith("wait"):
                continue
            waits = {name: 9} | ({"wait_count": 1} if "wait_count" in instruction.fields else {})
            with pytest.raises(RunError, match=r"next instruction \d+") as stopped:
                machines(config).run(program(*[(mnemonic, fields | waits)] * (depth + 20), config=config), {}, limit_cycles=1000)
            assert "waits for semaphore 9 in instruction 0 " in str(stopped.value), (mnemonic, name)
            dispatched = int(re.search(r"next instruction (\d+)", str(stopped.value))[1])
            assert depth < dispatched <= depth + order.BEYOND_QUEUE, (mnemonic, name, dispatched)


def test_program_that_comes_to_rest(machines):
    with pytest.raises(RunError, match=r"came to rest: .*load waits for semaphore 9 in instruction 0 \(layer\)"):
        machines("tiny").run(program(("LOAD_SYNC", dict(wait=9, wait_count=1))), {})


def test_products_that_come_to_rest(machines):
    """Though the weight loader has tiles that wait for the array."""
    product = ("MATMUL", dict(rows=1, k_tiles=1, n_tiles=3, chunk_tiles=1, acc_wait=9))
    with pytest.raises(RunError, match="came to rest: .*tensor waits for semaphore 9 in instruction 0"):
        machines("tiny").run(program(*[product] * 6), {}, limit_cycles=500_000)


def test_two_tokens_of_one_counter(machines):
    """Operand and accumulators of a product may wait for the same counter, and take a token each."""
    product = ("MATMUL", dict(rows=1, k_tiles=1, n_tiles=1, chunk_tiles=1, a_wait=9, acc_wait=9))
    machines("tiny").run(program(("LOAD_SYNC", dict(signal=9, signal_count=2)), product), {})
    with pytest.raises(RunError, match="came to rest: .*waits for semaphore 9"):
        machines("tiny").run(program(("LOAD_SYNC", dict(signal=9, signal_count=1)), product), {})


def test_program_that_never_ends(machines):
    with pytest.raises(RunError, match="did not end within 200000 cycles"):
        machines("tiny").run(program(("BRANCH", dict(offset=-1))), {}, limit_cycles=200_000)


def test_program_for_another_configuration(machines):
    image = dataclasses.replace(program(), config=Config.named("small"))
    with pytest.raises(InputError, match="is for configuration small"):
        machines("tiny").run(image, {})


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The RTL with one wrong bit: the second entry of the table of 2^-f."""
    text = sources_of(CONFIGS["tiny"])["weft.v"]
    assert text.count("16'h7d42") == 1
    folder = tmp_path_factory.mktemp("broken")
    (folder / "weft.v").write_text(text.replace("16'h7d42", "16'h7d02"))
    return RtlMachine(CONFIGS["tiny"], folder, optimize="build")


def test_broken_rtl_is_caught_and_shrunk(broken, tmp_path):
    config = CONFIGS["tiny"]
    for seed in range(100):
        image, inputs = random_image(config, seed)
        if failure(image, inputs, broken, seed, "reference"):
            break
    else:
        pytest.fail("a wrong exponential went unnoticed in 100 programs")
    whole = random_program(config, seed)

    def fails(image, inputs):
        return failure(image, inputs, broken, seed, "reference") is not None

    keep = shrink(whole, fails, seconds=60)
    small, small_inputs = whole.image(keep)
    assert small.instructions < image.instructions
    with pytest.raises(Mismatch, match=r"is \d+ in the golden model and \d+ in the RTL .*instruction \d+ \(STORE\)"):
        run_both(small, small_inputs, broken)
    save(tmp_path / "x.json", config, seed, "reference", small, small_inputs, "wrong")
    again, again_inputs, *_ = replay(tmp_path / "x.json")
    (tmp_path / "y.json").write_text('{"config": 1}')
    for name in ("y.json", "z.json"):
        with pytest.raises(InputError, match=f"{name} is no saved program"):
            replay(tmp_path / name)
    assert failure(again, again_inputs, broken, seed, "reference")
