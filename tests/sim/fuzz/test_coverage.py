"""Random programs use what the instruction set has."""

from weft.hw.config import Config
from weft.sim.fuzz.coverage import count_fields


def test_every_field_is_used():
    unused = {}
    for mnemonic, (programs, instructions, fields) in count_fields(Config(rows=4, cols=4, four_bit=True, circulant=(4,)), range(120)).items():
        assert programs >= 20, mnemonic
        unused[mnemonic] = [name for name, count in fields.items() if not count]
    assert not any(unused.values()), unused
