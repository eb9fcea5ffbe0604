"""Queues of instructions that keep what an engine reads of them."""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import PC_BITS, InstructionStream
from ..streams import Queue

__all__ = ["InstructionQueue", "read_bits"]


def read_bits(config, engine, reads=lambda field: True):
    """Positions in the word, ascending, of the opcode and of every field of the engine's instructions whose name ``reads`` accepts.

    Numbers of scalar registers, which the dispatcher has added, and fields that mean nothing in the configuration are not among
    them.
    """
    found = set(range(isa.OPCODE_BITS))
    for instruction in isa.BY_OPCODE.values():
        if instruction.engine == engine and instruction.available(config):
            for field in instruction.field_list:
                if reads(field.name) and not field.name.endswith("_reg") and (not field.option or getattr(config, field.option)):
                    found.update(range(instruction.offsets[field.name], instruction.offsets[field.name] + field.width))
    return sorted(found)


class InstructionQueue(wiring.Component):
    """As `Queue`, of instructions, of whose words only the bits at positions ``bits`` are kept; the others read as 0.

    Ports: ``i``, ``o`` (InstructionStream).
    """

    def __init__(self, bits, depth):
        self.bits, self.depth = bits, depth
        super().__init__({"i": In(InstructionStream()), "o": Out(InstructionStream())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(data.StructLayout({"word": len(self.bits), "pc": PC_BITS}), self.depth)
        word = [Const(0, 1)] * isa.INSTRUCTION_BITS
        for number, position in enumerate(self.bits):
            word[position] = queue.o.payload.word[number]
        m.d.comb += [
            queue.i.valid.eq(self.i.valid), self.i.ready.eq(queue.i.ready),
            queue.i.payload.word.eq(Cat(self.i.payload.word[position] for position in self.bits)),
            queue.i.payload.pc.eq(self.i.payload.pc),
            self.o.valid.eq(queue.o.valid), queue.o.ready.eq(self.o.ready),
            self.o.payload.word.eq(Cat(word)), self.o.payload.pc.eq(queue.o.payload.pc),
        ]
        return m
