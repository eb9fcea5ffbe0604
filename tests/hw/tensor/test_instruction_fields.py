"""Which bits of its instructions each thread of the tensor engine keeps, against those that it looks at."""

import json

import pytest

from weft.hw import isa
from weft.hw.config import Config
from weft.hw.control.instruction_queue import read_bits
from weft.hw.memory import wrapper
from weft.hw.tensor import engine
from weft.hw.tensor.loader import WeightLoader
from weft.hw.tensor.streamer import RowStreamer
from weft.hw.verilog import convert

CONFIGS = [Config(rows=4, cols=4, scratchpad_kib=8, accumulator_kib=4, four_bit=True, circulant=(4,), sparsity="1:4"),
           Config(rows=4, cols=8, scratchpad_kib=8, accumulator_kib=4)]


def looked_at(component, yosys, folder):
    """Positions in the instruction's word of the bits that anything in the component depends on."""
    (folder / "thread.v").write_text(convert(component, "thread") + wrapper.VERILOG)
    yosys(folder, "read_verilog thread.v; hierarchy -top thread; proc; flatten; opt; memory_collect; simplemap; opt; "
          "opt_clean -purge; write_json thread.json")
    module = json.loads((folder / "thread.json").read_text())["modules"]["thread"]
    used = {bit for cell in module["cells"].values() for name, bits in cell["connections"].items()
            if cell["port_directions"][name] == "input" for bit in bits}
    used |= {bit for port in module["ports"].values() if port["direction"] == "output" for bit in port["bits"]}
    word = module["ports"]["instructions_payload"]["bits"][:isa.INSTRUCTION_BITS]
    return {position for position, bit in enumerate(word) if bit in used}


@pytest.mark.parametrize("thread, reads", [(WeightLoader, engine._loader_reads),
                                           (lambda config: RowStreamer(config, 4), engine._streamer_reads)],
                         ids=["loader", "streamer"])
def test_a_thread_keeps_the_fields_that_it_reads(thread, reads, yosys, tmp_path):
    used = set()
    for config in CONFIGS:
        found = looked_at(thread(config), yosys, tmp_path)
        assert found - set(read_bits(config, isa.Engine.TENSOR, reads)) == set()
        used |= found
    # A name is there for a field of which something is read, in at least one of the instructions.
    places = {}
    for instruction in isa.BY_OPCODE.values():
        if instruction.engine == isa.Engine.TENSOR:
            for field in instruction.field_list:
                if reads(field.name) and not field.name.endswith("_reg"):
                    first = instruction.offsets[field.name]
                    places.setdefault(field.name, set()).update(range(first, first + field.width))
    assert [name for name, bits in places.items() if not bits & used] == []
