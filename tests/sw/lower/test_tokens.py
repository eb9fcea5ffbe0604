"""Tokens: enough of them, and none that follows from others."""

import numpy as np
import pytest
from lowering_graphs import GraphMaker, golden_outputs, random_inputs

from weft.hw import isa
from weft.hw.config import Config
from weft.hw.errors import ProgramError
from weft.lower import lower
from weft.lower.builder import Builder
from weft.lower.events import Space
from weft.lower.tensors import View
from weft.lower.tokens import assign_tokens
from weft.lower.weights import Piece

CONFIG = Config.named("tiny")
SIZES = {Space.SCRATCHPAD: CONFIG.scratchpad_words, Space.ACCUMULATORS: CONFIG.accumulator_words,
         Space.STATE: CONFIG.state_rows, Space.MEMORY: 64}


def tokens(item):
    """Fields of an instruction that wait or signal, without counts."""
    return {n: v for n, v in item.fields.items()
            if (n.endswith("wait") or n.endswith("signal")) and v and not n.endswith("count")}


def test_a_chain_needs_one_token_for_each_hand_over():
    b = Builder(CONFIG)
    a = View(0, 1, 8, isa.Element.INT8, 1)
    b.load(0, 0, 8)
    b.load(128, 200, 8, tracked=False)
    b.load(64, 100, 4, tracked=False)
    b.matmul(a, 0, 8, 0, 1, 1, 0, Piece(0, 100, 4).run(0, 1))
    b.requant(0, 0, 0, View(300, 1, 8, isa.Element.INT8, 1), 0, 0, 8, 1, 200)
    b.store(192, 300, 8)
    load_a, load_p, load_w, matmul, requant, store = assign_tokens(b.items, SIZES)
    # The last load's token says that the earlier ones are done, and whoever waits for the product knows it as well.
    assert tokens(load_p) == {}
    assert tokens(matmul) == {"w_wait": load_w.fields["signal"], "a_wait": load_a.fields["signal"],
                              "acc_signal": requant.fields["src_wait"]}
    assert matmul.fields["a_wait"] != matmul.fields["w_wait"], "the streamer reads ahead of the loader's wait"
    assert tokens(requant) == {"src_wait": matmul.fields["acc_signal"], "dst_signal": store.fields["wait"]}
    assert tokens(store) == {"wait": requant.fields["dst_signal"]}


def test_every_wait_is_needed():
    """Taking any wait out of a program makes the golden model refuse it, or leaves tokens in disorder."""
    m = GraphMaker(1)
    graph = m.output(m.linear(m.linear(m.input(40, 24), 40), 12))
    inputs = random_inputs(graph)
    lowered = lower(graph, CONFIG)
    golden_outputs(lowered, inputs)
    image = lowered.image
    words = image.code.reshape(-1, isa.INSTRUCTION_BYTES)
    removed = 0
    for number in range(image.instructions):
        instruction, fields = isa.decode(words[number].tobytes())
        for name in [n for n in fields if n == "wait" or n.endswith("_wait")]:
            counter = fields[name]
            if not counter:
                continue
            # The matching signal goes too: otherwise the counter only overflows.
            original = image.constant.copy()
            image.constant[image.code_offset:] = without(image, number, name, counter)
            with pytest.raises(ProgramError):
                golden_outputs(lowered, inputs)
            image.constant[:] = original
            removed += 1
    assert removed > 10


def without(image, number, name, counter):
    """Code without one wait and without the signal it would have consumed."""
    program = [isa.decode(w.tobytes()) for w in image.code.reshape(-1, isa.INSTRUCTION_BYTES)]
    program = [(i.mnemonic, dict(f)) for i, f in program]
    earlier = sum(v == counter for m, f in program[:number] for n, v in f.items() if n == "wait" or n.endswith("_wait"))
    earlier += sum(program[number][1][n] == counter for n in program[number][1]
                   if (n == "wait" or n.endswith("_wait")) and list(program[number][1]).index(n)
                   < list(program[number][1]).index(name))
    program[number][1][name] = 0
    for _, fields in program:
        for n in fields:
            if (n == "signal" or n.endswith("_signal")) and fields[n] == counter:
                if earlier == 0:
                    fields[n] = 0
                    return isa.encode_program(program)
                earlier -= 1
    raise AssertionError("a wait without a signal")


def test_waiting_instructions_behind_their_signals():
    """In program order no counter goes below zero, so in-order dispatch cannot deadlock."""
    m = GraphMaker(2)
    x = m.input(30, 16)
    graph = m.output(m.attention(*(m.linear(x, 16) for _ in range(3)), 2, block=16))
    program = lower(graph, CONFIG).image.code.reshape(-1, isa.INSTRUCTION_BYTES)
    level = np.zeros(isa.SEMAPHORES, int)
    for word in program:
        _, fields = isa.decode(word.tobytes())
        for name, value in fields.items():
            if value and (name == "wait" or name.endswith("_wait")):
                level[value] -= 1
                assert level[value] >= 0
        for name, value in fields.items():
            if value and (name == "signal" or name.endswith("_signal")):
                level[value] += 1
    assert not level.any()
