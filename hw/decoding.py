"""Telling opcodes apart."""

from itertools import combinations

from amaranth.hdl import Cat

from . import isa

__all__ = ["is_one_of", "is_instruction"]


def is_one_of(opcode, wanted, others):
    """Whether an opcode is one of ``wanted`` and none of ``others``, by as few bits as tell these apart. It may say so of an
    opcode that is neither."""
    def seen(numbers, bits):
        return {sum((number >> bit & 1) << n for n, bit in enumerate(bits)) for number in numbers}

    bits = next(bits for count in range(1, len(opcode) + 1) for bits in combinations(range(len(opcode)), count)
                if seen(wanted, bits).isdisjoint(seen(others, bits)))
    return Cat(opcode[bit] for bit in bits).matches(*sorted(seen(wanted, bits)))


def is_instruction(opcode, mnemonic):
    """Whether the opcode of one of an engine's instructions is that of ``mnemonic``; no other engine's come to it."""
    own = isa.INSTRUCTIONS[mnemonic]
    return is_one_of(opcode, [own.opcode], [other.opcode for other in isa.INSTRUCTIONS.values()
                                            if other.engine == own.engine and other is not own])
