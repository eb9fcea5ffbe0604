"""Instructions as words of 256 bits, and back."""

import numpy as np

from ..errors import ProgramError
from .codes import INSTRUCTION_BYTES, OPCODE_BITS
from .instructions import BY_OPCODE, INSTRUCTIONS

__all__ = ["encode", "encode_program", "decode", "disassemble"]


def encode(mnemonic, /, **values):
    """One instruction as an integer of 256 bits; fields left out are zero.

    Raises ProgramError for an unknown mnemonic or field and for a value that does not fit its field.
    """
    if mnemonic not in INSTRUCTIONS:
        raise ProgramError(f"no instruction is named {mnemonic!r}")
    instruction = INSTRUCTIONS[mnemonic]
    word = instruction.opcode
    for name, value in values.items():
        if name not in instruction.fields:
            raise ProgramError(f"{mnemonic} has no field {name!r}")
        field, value = instruction.fields[name], int(value)
        low, high = (-(1 << field.width - 1), (1 << field.width - 1) - 1) if field.signed else (0, (1 << field.width) - 1)
        if not low <= value <= high:
            raise ProgramError(f"{mnemonic}.{name} must be from {low} to {high}, not {value}")
        word |= (value & ((1 << field.width) - 1)) << instruction.offsets[name]
    return word


def encode_program(instructions):
    """Instructions, each ``(mnemonic, fields)``, as uint8[32 * count]."""
    data = b"".join(encode(m, **f).to_bytes(INSTRUCTION_BYTES, "little") for m, f in instructions)
    return np.frombuffer(data, np.uint8)


def decode(word):
    """``(Instruction, {field: value})`` of one instruction, an integer or 32 bytes.

    Raises ProgramError for an illegal opcode and for bits set outside the fields.
    """
    if not isinstance(word, int):
        word = int.from_bytes(bytes(word), "little")
    instruction = BY_OPCODE.get(word & (1 << OPCODE_BITS) - 1)
    if instruction is None:
        raise ProgramError(f"illegal opcode 0x{word & (1 << OPCODE_BITS) - 1:02x}")
    if word >> instruction.width:
        raise ProgramError(f"{instruction.mnemonic} has bits set beyond its fields")
    values = {}
    for name, field in instruction.fields.items():
        value = word >> instruction.offsets[name] & ((1 << field.width) - 1)
        if field.signed and value >> field.width - 1:
            value -= 1 << field.width
        values[name] = value
    return instruction, values


def disassemble(code):
    """Lines of text for uint8[32 * count], one an instruction: number, mnemonic, the fields that are not zero."""
    data = bytes(code)
    if len(data) % INSTRUCTION_BYTES:
        raise ProgramError(f"a program is a whole number of {INSTRUCTION_BYTES}-byte instructions, not {len(data)} bytes")
    for n in range(len(data) // INSTRUCTION_BYTES):
        try:
            instruction, values = decode(data[n * INSTRUCTION_BYTES:(n + 1) * INSTRUCTION_BYTES])
        except ProgramError as error:
            yield f"{n:6d}  ({error})"
            continue
        yield f"{n:6d}  {instruction.mnemonic:<12}" + " ".join(f"{k}={v}" for k, v in values.items() if v)
