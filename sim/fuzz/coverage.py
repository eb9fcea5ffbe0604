"""How often random programs use what the instruction set has."""

from collections import Counter

from weft.hw.isa import INSTRUCTION_BYTES, INSTRUCTIONS, decode

from .generator import random_image

__all__ = ["count_fields", "table"]


def count_fields(config, seeds):
    """``(programs that have it, instructions, {field: instructions in which it is not trivial})`` by mnemonic.

    A field is trivial at 0, a count at 1. Instructions count as often as they stand in the code.
    """
    programs, instructions = Counter(), Counter()
    fields = {name: dict.fromkeys(instruction.fields, 0) for name, instruction in INSTRUCTIONS.items()}
    for seed in seeds:
        code = random_image(config, seed)[0].code
        found = set()
        for start in range(0, len(code), INSTRUCTION_BYTES):
            instruction, values = decode(code[start:start + INSTRUCTION_BYTES])
            found.add(instruction.mnemonic)
            instructions[instruction.mnemonic] += 1
            for name, value in values.items():
                fields[instruction.mnemonic][name] += value > 1 if instruction.fields[name].count else value != 0
        programs.update(found)
    return {name: (programs[name], instructions[name], fields[name]) for name in INSTRUCTIONS}


def table(counts):
    """Lines of text of `count_fields`."""
    for mnemonic, (programs, instructions, fields) in counts.items():
        yield f"{mnemonic}: {instructions} in {programs} programs"
        for name, count in fields.items():
            yield f"    {name:20} {count:6} {count / max(1, instructions):6.1%}"
