"""The README's tables are what the code defines."""

import pytest

from weft.hw import isa, tables
from weft.hw.control import register_map


def test_readme_is_current():
    if not tables.README.is_file():
        pytest.skip("the README is not part of the installed package")
    text = tables.README.read_text(encoding="utf-8")
    assert text == tables.with_tables(text), "run python -m weft.hw.tables"


def test_tables_name_everything():
    instructions, registers = tables.instructions_table(), register_map.markdown_table()
    for instruction in isa.INSTRUCTIONS.values():
        assert f"`{instruction.mnemonic}` 0x{instruction.opcode:02x}" in instructions
        for field in instruction.fields:
            assert f"`{field}`" in instructions
    for register in register_map.REGISTER_MAP:
        others = tuple(t.upper() for t in register_map.THREADS[1:])
        if not register.name.startswith(others) and register.name[1:] not in map(str, range(1, 16)):
            name = register.name.replace("LOAD_", "*THREAD*_")
            assert name in registers, name


def test_registers_do_not_overlap():
    offsets = [register.offset for register in register_map.REGISTER_MAP]
    assert offsets == sorted(set(offsets)) and all(offset % 4 == 0 for offset in offsets)
    assert max(offsets) < 1 << register_map.ADDRESS_BITS
    for register in register_map.REGISTER_MAP:
        used = 0
        for bits in register.bits:
            assert not used & register.mask(bits.name)
            used |= register.mask(bits.name)
        assert used < 1 << 32


def test_missing_place_is_noticed():
    with pytest.raises(ValueError, match="registers"):
        tables.with_tables("nothing here")
