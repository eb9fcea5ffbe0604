"""Random programs use what the instruction set has."""

from weft.hw.config import Config
from weft.sim.fuzz.coverage import count_fields


def test_every_field_is_used():
    unused = {}
    config = Config(rows=4, cols=4, four_bit=True, circulant=(4,), sparsity="1:4")
    for mnemonic, (programs, instructions, fields) in count_fields(config, range(120)).items():
        assert programs >= 20, mnemonic
        # Sparse weights want whole panels, so nothing begins within one.
        unused[mnemonic] = [name for name, count in fields.items() if not count and name != "k_offset"]
    assert not any(unused.values()), unused
    several = count_fields(Config(rows=4, cols=8, circulant=(4,)), range(60))
    assert all(fields["k_offset"] for _, _, fields in several.values() if "k_offset" in fields)
