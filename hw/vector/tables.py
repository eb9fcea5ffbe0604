"""Tables of 256 bytes, one lookup a lane and cycle."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..memory.wrapper import OnChipMemory

__all__ = ["Tables", "TABLE_WORDS"]

#: Four-byte words of one table.
TABLE_WORDS = 64


class Tables(wiring.Component):
    """Two tables, one copy for each lane; ``values[lane] = table[slot][index[lane]]``.

    Parameters: ``lanes``.

    Members
    -------
    write, write_slot, write_word, write_data : In
        Writes entries ``4 * write_word`` to ``4 * write_word + 3``.
    lookup, slot, index : In
        In a cycle with ``lookup``: bytes to look up.
    values : Out(ArrayLayout(8, lanes))
        In the next cycle.
    """

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__({
            "write": In(1), "write_slot": In(1), "write_word": In(6), "write_data": In(32),
            "lookup": In(1), "slot": In(1), "index": In(data.ArrayLayout(8, lanes)),
            "values": Out(data.ArrayLayout(8, lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        for lane in range(self.lanes):
            memory = OnChipMemory(32, 2 * TABLE_WORDS)
            m.submodules[f"table_{lane}"] = memory
            byte = Signal(2, name=f"byte_{lane}", reset_less=True)
            with m.If(self.lookup):
                m.d.sync += byte.eq(self.index[lane][:2])
            m.d.comb += [
                memory.write_enable.eq(self.write), memory.write_data.eq(self.write_data), memory.write_mask.eq(1),
                memory.write_address.eq(Cat(self.write_word, self.write_slot)),
                memory.read_enable.eq(self.lookup),
                memory.read_address.eq(Cat(self.index[lane][2:], self.slot)),
                self.values[lane].eq(memory.read_data.word_select(byte, 8)),
            ]
        return m
