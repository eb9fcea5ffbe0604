"""The scratchpad: banks of lines, shared by ports of fixed priority."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..choice import Choice
from ..interfaces import ScratchpadRead, ScratchpadWrite
from .wrapper import OnChipMemory

__all__ = ["Scratchpad"]


class Scratchpad(wiring.Component):
    """``scratchpad_banks`` memories of lines (two words), the bank chosen by the high bits of the line.

    In each cycle a bank serves one read and one write, those of the port that comes first in the list; ``ready``
    answers in the cycle of the request and depends on the other ports' ``valid`` and ``line`` only. What is accepted goes
    through a register to its bank, so that neither arbitration nor the choice among ports adds to the way into a memory. Data
    of a read comes READ_LATENCY (3) cycles after it: that register, the bank's, then the port's. A write accepted in one cycle
    is seen by reads accepted from the next on. A read of the line in the same cycle gives the bytes that are not
    written, and undefined data instead of those that are: threads share a line (two words), and the vector engine
    reads ahead of its writes.

    With `sparsity` "1:4" each bank consists of two memories, for even and odd lines, and serves one read and one write of
    each: rows of four panels come through two ports, and need not lie in different banks for it.

    Parameters
    ----------
    config : Config
    reads, writes : list of str
        Names of the ports, highest priority first.

    Members
    -------
    read_<name> : In(ScratchpadRead(config))
    write_<name> : In(ScratchpadWrite(config))
    """

    def __init__(self, config, reads, writes):
        self.config = config
        self.reads = tuple(reads)
        self.writes = tuple(writes)
        super().__init__({f"read_{name}": In(ScratchpadRead(config)) for name in reads}
                         | {f"write_{name}": In(ScratchpadWrite(config)) for name in writes})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        split = config.sparsity == "1:4"
        banks = config.scratchpad_banks * (2 if split else 1)
        lines = config.scratchpad_words // 2
        depth = lines // banks
        row_bits = (depth - 1).bit_length()
        reads = [getattr(self, f"read_{name}") for name in self.reads]
        writes = [getattr(self, f"write_{name}") for name in self.writes]

        memories = []
        for number in range(banks):
            memories.append(OnChipMemory(8 * config.line_bytes, depth, lane=8 * config.lane_bytes))
            m.submodules[f"bank_{number}"] = memories[-1]

        def bank_of(port):
            if split:
                return Cat(port.line[0], port.line[row_bits + 1:])
            return port.line[row_bits:] if banks > 1 else Const(0)

        def row_of(port):
            return port.line[1:row_bits + 1] if split else port.line[:row_bits]

        def arbitrate(ports):
            for position, port in enumerate(ports):
                taken = Const(0)
                for other in ports[:position]:
                    taken = taken | (other.valid & (bank_of(other) == bank_of(port)))
                m.d.comb += port.ready.eq(~taken)

        def first_of(asks, choices):
            """The first choice that is asked for, or else the last one: a tree, as the ports at the end of the list are late."""
            if len(choices) == 1:
                return choices[0]
            half = len(choices) // 2
            return Mux(Cat(asks[:half]).any(), first_of(asks[:half], choices[:half]), first_of(asks[half:], choices[half:]))

        arbitrate(reads)
        arbitrate(writes)
        for number, memory in enumerate(memories):
            asks = [port.valid & (bank_of(port) == number) for port in reads]
            m.d.sync += [memory.read_enable.eq(Cat(asks).any()),
                         memory.read_address.eq(first_of(asks, [row_of(port) for port in reads]))]

        # What is written is chosen behind the registers, which each port has one of, instead of each bank.
        written = []
        for name, port in zip(self.writes, writes):
            row = Signal(row_bits, name=f"{name}_row", reset_less=True)
            data = Signal.like(port.data, name=f"{name}_written", reset_less=True)
            mask = Signal(config.line_bytes // config.lane_bytes, name=f"{name}_mask", reset_less=True)
            with m.If(port.valid):
                m.d.sync += [row.eq(row_of(port)), data.eq(port.data), mask.eq(port.mask[::config.lane_bytes])]
            written.append((row, data, mask))
        for number, memory in enumerate(memories):
            asks = []
            for name, port in zip(self.writes, writes):
                asks.append(Signal(name=f"{name}_to_{number}"))
                m.d.sync += asks[-1].eq(port.valid & (bank_of(port) == number))
            m.d.comb += memory.write_enable.eq(Cat(asks).any())
            for target, choices in zip((memory.write_address, memory.write_data, memory.write_mask), zip(*written)):
                m.d.comb += target.eq(first_of(asks, choices))

        for name, port in zip(self.reads, reads):
            accepted, read = Signal(name=f"{name}_accepted"), Signal(name=f"{name}_read")
            asked_bank, bank = (Signal(range(banks), name=f"{name}_{which}", reset_less=True) for which in ("asked", "bank"))
            data = Signal(8 * config.line_bytes, name=f"{name}_data", reset_less=True)
            m.d.sync += [accepted.eq(port.valid & port.ready), asked_bank.eq(bank_of(port)), read.eq(accepted), bank.eq(asked_bank)]
            m.submodules[f"{name}_choice"] = choice = Choice(len(data), banks)
            m.d.comb += [choice.number.eq(bank), *(word.eq(memory.read_data) for word, memory in zip(choice.words, memories)),
                         port.data.eq(data)]
            with m.If(read):
                m.d.sync += data.eq(choice.word)
        return m
