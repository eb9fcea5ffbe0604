"""Decoding and dispatch: checks instructions, executes control, adds scalar registers, feeds the engines' queues."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..interfaces import InstructionStream, PC_BITS, instruction_layout
from .fetch import FETCHED

__all__ = ["REGISTER_USES", "ScalarRegisters", "Dispatch"]


class Rule(enum.Enum):
    """How a register changes a field."""
    WRAP = 0    #: added, modulo the field's width
    CLAMP = 1   #: added and clamped to the field's range


#: Which register field changes which other field, for each instruction, in the order in which the dispatcher adds them.
REGISTER_USES = {
    **{name: (("dram_reg", "dram_addr", Rule.WRAP),) for name in ("LOAD", "INDEX", "GATHER", "STORE")},
    **{name: (("w_limit_reg", "w_limit", Rule.CLAMP),) for name in ("MATMUL_KT", "MATMUL_V")},
    "SOFTMAX": (("key_reg", "key_start", Rule.WRAP), ("limit_reg", "key_limit", Rule.CLAMP),
                ("query_reg", "query_start", Rule.WRAP)),
}
assert {name: {f for f in i.fields if f.endswith("_reg")} for name, i in isa.INSTRUCTIONS.items()} == \
    {name: {use[0] for use in REGISTER_USES.get(name, ())} for name in isa.INSTRUCTIONS}


class ScalarRegisters(wiring.Component):
    """R0 to R15, 32 bits; R0 is zero, the others hold anything until they are written.

    Ports: ``index``, ``value``: the dispatcher's read port, same cycle; ``write``, ``target``, ``result``: its write port;
    ``host_write`` (a strobe for each byte, never with ``write``), ``host_target``, ``host_data``, ``host_index``, ``host_value``:
    the registers' ports.
    """
    index: In(4)
    value: Out(32)
    write: In(1)
    target: In(4)
    result: In(32)
    host_write: In(4)
    host_target: In(4)
    host_data: In(32)
    host_index: In(4)
    host_value: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=32, depth=isa.REGISTERS, init=[])
        write = storage.write_port(granularity=8)
        m.d.comb += [
            write.en.eq(self.write.replicate(4) | self.host_write),
            write.addr.eq(Mux(self.write, self.target, self.host_target)),
            write.data.eq(Mux(self.write, self.result, self.host_data)),
        ]
        for index, value in ((self.index, self.value), (self.host_index, self.host_value)):
            read = storage.read_port(domain="comb")
            m.d.comb += [read.addr.eq(index), value.eq(Mux(index == 0, 0, read.data))]
        return m


def _legal(config, instruction, word):
    """The rules of `isa.Instruction.violation`, and zeros beyond the fields: an engine counts down to the last."""
    fields = data.View(instruction_layout(instruction.mnemonic), word)
    rules = [*(~word[first:stop].any() for first, stop in instruction.unused(config)),
             *(fields[name].any() for name in instruction.counts)]
    if instruction.has_ring:
        rules.append((fields.ring_start < fields.ring_slots) | ~fields.ring_slots.any())
    if instruction.has_k_offset:
        rules.append(fields.k_offset < config.k_tiles_per_panel)
    if instruction.has_formats and config.compressed_weights:
        rules.append(reduce(or_, (fields.w_format == number for number in config.weight_formats)))
        rules.append(~((fields.w_format == isa.WeightFormat.FOUR_BIT) & fields.k_outer))
        if config.sparsity:
            whole_panels = fields.k_missing == 0
            for number, panels in isa.SPARSE_PANELS.items():
                whole_panels |= (fields.w_format == number) & (fields.k_missing < panels)
            rules.append(whole_panels)
    if instruction.has_blocks:
        rules.append(reduce(or_, (fields.block == block for block in config.circulant)))
    return Cat(rules).all()


class Dispatch(wiring.Component):
    """Takes instructions in order.

    Ports: ``i`` stream of `FETCHED`; ``load``, ``tensor``, ``vector``, ``store``: to the engines' queues; ``jump``, ``target``: to
    fetch, in the first cycle after a reset too, to instruction 0; ``index``, ``value``, ``write``, ``rd``, ``result``: to the
    scalar registers; ``engines_idle``: every queue is empty and every engine idle (may be a cycle old); ``pc``: number of the
    instruction at hand; ``ended``: an END has been executed; ``illegal``, ``fetch_error``: the instruction ``pc`` cannot be
    executed, nothing follows until a reset.

    Two cycles for an instruction, five for CALC and BRANCH; two more for each register field, unless all name R0.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(FETCHED)),
            **{name: Out(InstructionStream()) for name in ("load", "tensor", "vector", "store")},
            "jump": Out(1, init=1), "target": Out(PC_BITS),
            "index": Out(4), "value": In(32), "write": Out(1), "rd": Out(4), "result": Out(32),
            "engines_idle": In(1), "pc": Out(PC_BITS), "ended": Out(1), "illegal": Out(1), "fetch_error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        word = Signal(isa.INSTRUCTION_BITS)
        failed = Signal()
        opcode = word[:8]
        queues = {isa.Engine.LOAD: self.load, isa.Engine.TENSOR: self.tensor, isa.Engine.VECTOR: self.vector,
                  isa.Engine.STORE: self.store}
        for queue in queues.values():
            m.d.comb += [queue.payload.word.eq(word), queue.payload.pc.eq(self.pc)]

        legal = Signal()
        with m.Switch(opcode):
            for number, instruction in isa.BY_OPCODE.items():
                if instruction.available(self.config):
                    with m.Case(number):
                        m.d.comb += legal.eq(_legal(self.config, instruction, word))
        # Known a cycle after the decoding, before anything comes of the instruction.
        refused = Signal()
        m.d.comb += [self.fetch_error.eq(refused & failed), self.illegal.eq(refused & ~failed)]

        # The queue of the instruction's engine had room a cycle ago, and nobody else fills it.
        engine_of = {engine: opcode[4:] == engine for engine in queues}
        room = Signal()
        m.d.sync += room.eq(reduce(or_, (engine_of[engine] & queue.ready for engine, queue in queues.items())))

        # Uses at equal places in the word are one case of the register adder.
        uses = {}       # (register offset, field offset, field width, rule) -> opcodes
        order = {}      # opcode -> uses
        for name, steps in REGISTER_USES.items():
            instruction = isa.INSTRUCTIONS[name]
            for register, field, rule in steps:
                use = (instruction.offsets[register], instruction.offsets[field], instruction.fields[field].width, rule)
                uses.setdefault(use, []).append(instruction.opcode)
                order.setdefault(instruction.opcode, []).append(use)
        numbers = {use: n for n, use in enumerate(uses)}
        use_number = Signal(range(max(2, len(uses))))
        a = Signal(40)
        b = Signal(32)
        total = Signal(41)
        m.d.comb += total.eq(a + b.as_signed())

        def register_of(use):
            return word[use[0]:use[0] + 4]

        last_use = Signal()
        unchanged = Signal()        # every register of the instruction is R0
        with m.Switch(opcode):
            for number, steps in order.items():
                with m.Case(number):
                    m.d.comb += [
                        last_use.eq(use_number == numbers[steps[-1]]),
                        unchanged.eq(~Cat(word[register:register + 4] for register, *_ in steps).any()),
                    ]

        calc = data.View(instruction_layout("CALC"), word)
        branch = data.View(instruction_layout("BRANCH"), word)
        number_of = {name: i.opcode for name, i in isa.INSTRUCTIONS.items()}
        calculates = Signal()       # CALC, not BRANCH
        ends = Signal()             # END, not BARRIER
        taken = Signal()
        # pc + 1 + offset, by one adder.
        m.d.sync += [self.target.eq(self.pc - ~branch.offset), self.jump.eq(0)]
        with m.Switch(branch.cond):
            for condition, test in ((isa.Condition.EQ, a[:32] == b), (isa.Condition.NE, a[:32] != b),
                                    (isa.Condition.LT, a[:32].as_signed() < b.as_signed()),
                                    (isa.Condition.GE, a[:32].as_signed() >= b.as_signed())):
                with m.Case(condition.value):
                    m.d.comb += taken.eq(test)
        m.d.comb += [
            self.rd.eq(calc.rd),
            self.result.eq(a[:32].as_signed() >> calc.right),
        ]

        def take():
            """Takes the next instruction, if there is one."""
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [word.eq(self.i.payload.word), self.pc.eq(self.i.payload.pc),
                             failed.eq(self.i.payload.error)]
                m.next = "Decode"
            with m.Else():
                m.next = "Fetch"

        with m.FSM():
            with m.State("Fetch"):
                take()
            with m.State("Decode"):
                m.next = "Push"
                m.d.sync += [calculates.eq(opcode == number_of["CALC"]), ends.eq(opcode == number_of["END"]),
                             refused.eq(failed | ~legal)]
                with m.Switch(opcode):
                    for number, steps in order.items():
                        with m.Case(number):
                            m.d.sync += [use_number.eq(numbers[steps[0]]), self.index.eq(register_of(steps[0]))]
                            with m.If(~unchanged):
                                m.next = "Register"
                    with m.Case(number_of["END"], number_of["BARRIER"]):
                        m.next = "Drain"
                    for name, view in (("CALC", calc), ("BRANCH", branch)):
                        with m.Case(number_of[name]):
                            m.d.sync += self.index.eq(view.ra)
                            m.next = "OperandA"

            # Register adder: operands, then the sum into the word. The register's number is there when its value is taken.
            with m.State("Register"):
                with m.Switch(use_number):
                    for use, number in numbers.items():
                        _, field, width, _ = use
                        with m.Case(number):
                            m.d.sync += a.eq(word[field:field + width])
                m.d.sync += b.eq(self.value)
                m.next = "Sum"
            with m.State("Sum"):
                with m.Switch(use_number):
                    for use, number in numbers.items():
                        _, field, width, rule = use
                        with m.Case(number):
                            if number + 1 < len(uses):
                                m.d.sync += self.index.eq(register_of(list(uses)[number + 1]))
                            target = word[field:field + width]
                            m.d.sync += target.eq(total)
                            if rule is Rule.CLAMP:
                                with m.If(total[-1]):
                                    m.d.sync += target.eq(0)
                                with m.Elif(total[width:].any()):
                                    m.d.sync += target.eq(~0)
                m.d.sync += use_number.eq(use_number + 1)
                m.next = "Register"
                with m.If(last_use):
                    m.next = "Push"

            with m.State("Push"):
                with m.If(refused):
                    m.next = "Halt"
                with m.Elif(room):
                    m.d.comb += [queue.valid.eq(engine_of[engine]) for engine, queue in queues.items()]
                    take()

            # CALC and BRANCH share the operands.
            with m.State("OperandA"):
                m.d.sync += [self.index.eq(Mux(calculates, calc.rb, branch.rb)), b.eq(self.value)]
                m.next = "OperandB"
                with m.If(refused):
                    m.next = "Halt"
            with m.State("OperandB"):
                m.d.sync += [a.eq((b << Mux(calculates, calc.left, 0))[:32]),
                             b.eq(self.value + Mux(calculates, calc.imm.as_unsigned(), 0))]
                m.next = "Branch"
                with m.If(calculates):
                    m.next = "Add"
            with m.State("Add"):
                m.d.sync += a.eq(total[:32])
                m.next = "Result"
            with m.State("Result"):
                m.d.comb += self.write.eq(1)
                take()
            with m.State("Branch"):
                m.d.sync += self.jump.eq(taken & (branch.offset != 0))
                m.next = "Jump"
            with m.State("Jump"):
                with m.If(self.jump):
                    m.next = "Fetch"
                with m.Else():
                    take()

            # END and BARRIER: what was dispatched a cycle ago is visible from the second cycle on.
            with m.State("Drain"):
                with m.If(refused):
                    m.next = "Halt"
                with m.Elif(self.engines_idle):
                    m.next = "Fetch"
                    with m.If(ends):
                        m.d.comb += self.ended.eq(1)
                        m.next = "Halt"
            with m.State("Halt"):
                pass
        return m
