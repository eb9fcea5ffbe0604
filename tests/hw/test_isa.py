"""The instruction set: encoding and decoding are inverses, and what does not fit is refused."""

import pytest
from hypothesis import given, strategies as st

from weft.hw import isa
from weft.hw.errors import ProgramError
from weft.hw.interfaces import instruction_layout


@st.composite
def instructions(draw):
    instruction = draw(st.sampled_from(list(isa.INSTRUCTIONS.values())))
    values = {}
    for name, field in instruction.fields.items():
        low = -(1 << field.width - 1) if field.signed else 0
        values[name] = draw(st.integers(low, low + (1 << field.width) - 1))
    return instruction.mnemonic, values


@given(instructions())
def test_decode_inverts_encode(case):
    mnemonic, values = case
    word = isa.encode(mnemonic, **values)
    instruction, decoded = isa.decode(word.to_bytes(isa.INSTRUCTION_BYTES, "little"))
    assert (instruction.mnemonic, decoded) == (mnemonic, values)


@given(instructions())
def test_hardware_layout_agrees_with_the_encoder(case):
    mnemonic, values = case
    constant = instruction_layout(mnemonic).const({"opcode": isa.INSTRUCTIONS[mnemonic].opcode, **values})
    assert constant.as_value().value == isa.encode(mnemonic, **values)


def test_opcodes_and_names_are_unique():
    assert len(isa.BY_OPCODE) == len(isa.INSTRUCTIONS)
    for instruction in isa.INSTRUCTIONS.values():
        assert instruction.width <= isa.INSTRUCTION_BITS
        assert len(instruction.fields) == len(instruction.field_list)


@pytest.mark.parametrize("mnemonic, values, message", [
    ("NOP", {}, "no instruction is named 'NOP'"),
    ("END", {"rows": 1}, "END has no field 'rows'"),
    ("MATMUL", {"rows": 4096}, "MATMUL.rows must be from 0 to 4095, not 4096"),
    ("CALC", {"imm": 1 << 31}, "CALC.imm must be from -2147483648 to 2147483647, not 2147483648"),
])
def test_refusals(mnemonic, values, message):
    with pytest.raises(ProgramError, match=message.replace("[", r"\[")):
        isa.encode(mnemonic, **values)


def test_illegal_words():
    with pytest.raises(ProgramError, match="illegal opcode 0xff"):
        isa.decode(0xFF)
    with pytest.raises(ProgramError, match="END has bits set beyond its fields"):
        isa.decode(1 << 200)


def test_disassembly_names_fields_and_survives_illegal_words():
    code = isa.encode_program([("CALC", dict(rd=1, imm=-3)), ("END", {})]).tobytes() + b"\xff" * 32
    lines = list(isa.disassemble(code))
    assert "rd=1 imm=-3" in lines[0] and "END" in lines[1] and "illegal opcode" in lines[2]
