"""Decoding and dispatch: checks instructions, executes control, adds scalar registers, feeds the engines' queues."""

from functools import reduce
from itertools import groupby
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from ..decoding import is_one_of
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


def _zeros(config, instruction, word):
    """Whether there are zeros beyond the fields."""
    return Cat(~word[first:stop].any() for first, stop in instruction.unused(config)).all()


def _legal(config, instruction, word):
    """The rules of `isa.Instruction.violation`: an engine counts down to the last."""
    fields = data.View(instruction_layout(instruction.mnemonic), word)
    rules = [fields[name].any() for name in instruction.counts]
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

        # Known a cycle after the decoding, before anything comes of the instruction; for each engine apart, and zeros apart from
        # the other rules, since these are many.
        legal, zeros = [], []
        legal_of, zeros_of = Signal(len(isa.Engine), init=1), Signal(len(isa.Engine), init=1)
        for engine in isa.Engine:
            instructions = [(opcode == number, instruction) for number, instruction in isa.BY_OPCODE.items()
                            if instruction.engine == engine and instruction.available(self.config)]
            legal.append(Cat(given & _legal(self.config, instruction, word) for given, instruction in instructions).any())
            zeros.append(Cat(given & _zeros(self.config, instruction, word) for given, instruction in instructions).any())
        refused = Signal()
        m.d.comb += [refused.eq(~(legal_of & zeros_of).any()), self.fetch_error.eq(refused & failed),
                     self.illegal.eq(refused & ~failed)]

        # The queue of the instruction's engine had room a cycle ago, and nobody else fills it.
        engine_of = {engine: opcode[4:] == engine for engine in queues}
        room = Signal()
        m.d.sync += room.eq(reduce(or_, (engine_of[engine] & queue.ready for engine, queue in queues.items())))

        # Where the instruction goes is told by few bits of its opcode: one that is not legal is refused wherever it goes.
        available = [number for number, instruction in isa.BY_OPCODE.items() if instruction.available(self.config)]

        def is_any_of(*opcodes):
            return is_one_of(opcode, opcodes, [number for number in available if number not in opcodes])

        # Uses at equal places in the word are one case of the register adder.
        order = {}      # uses: (register offset, field offset, field width, rule) each -> opcodes
        for name, steps in REGISTER_USES.items():
            instruction = isa.INSTRUCTIONS[name]
            uses = tuple((instruction.offsets[register], instruction.offsets[field], instruction.fields[field].width, rule)
                         for register, field, rule in steps)
            order.setdefault(uses, []).append(instruction.opcode)
        uses = list(dict.fromkeys(use for steps in order for use in steps))
        numbers = {use: n for n, use in enumerate(uses)}
        has_steps = {steps: is_any_of(*opcodes) for steps, opcodes in order.items()}
        use_number = Signal(range(max(2, len(uses))))
        a = Signal(40)
        b = Signal(32)
        total = Signal(41)
        m.d.comb += total.eq(a + b.as_signed())

        def clamped(width):
            """The sum with a field of that width. The carry out of it tells, and the register's bits above; the sum's come late."""
            carry, above = total[width] ^ b[width], b[width:-1]
            exceeds = ~b[-1] & (above.any() | carry)
            remains = ~b[-1] | (above.all() & carry)
            return (total[:width] | exceeds.replicate(width)) & remains.replicate(width)

        def register_of(use):
            return word[use[0]:use[0] + 4]

        last_use = Signal()
        changed = Signal()          # some register of the instruction is not R0
        m.d.comb += [
            last_use.eq(Cat(has & (use_number == numbers[steps[-1]]) for steps, has in has_steps.items()).any()),
            changed.eq(Cat(has & Cat(word[register:register + 4] for register, *_ in steps).any()
                           for steps, has in has_steps.items()).any()),
        ]

        calc = data.View(instruction_layout("CALC"), word)
        branch = data.View(instruction_layout("BRANCH"), word)
        number_of = {name: i.opcode for name, i in isa.INSTRUCTIONS.items()}
        calculates = is_one_of(opcode, [number_of["CALC"]], [number_of["BRANCH"]])
        ends = is_one_of(opcode, [number_of["END"]], [number_of["BARRIER"]])
        left = Signal.like(calc.left, reset_less=True)      # what a CALC shifts its first operand by
        taken = Signal()
        # The first operand is used in the cycle after it comes, so it needs not be held: the state chooses little.
        operates = is_any_of(number_of["CALC"], number_of["BRANCH"])
        adds, operated = Signal(), Signal()
        m.d.sync += operated.eq(operates)
        with m.If(adds):
            m.d.sync += a.eq(total[:32])
        with m.Elif(operated):
            m.d.sync += a.eq((b << left)[:32])
        with m.Else():
            with m.Switch(use_number):
                for (_, field, width, _), number in numbers.items():
                    with m.Case(number):
                        m.d.sync += a.eq(word[field:field + width])
        # pc + 1 + offset, by one adder.
        m.d.sync += [self.target.eq(self.pc - ~branch.offset), self.jump.eq(0)]
        with m.Switch(branch.cond):
            differ = (a[:32] ^ b).any()     # not by the sum that compares: its carries would come first
            for condition, test in ((isa.Condition.EQ, ~differ), (isa.Condition.NE, differ),
                                    (isa.Condition.LT, a[:32].as_signed() < b.as_signed()),
                                    (isa.Condition.GE, a[:32].as_signed() >= b.as_signed())):
                with m.Case(condition.value):
                    m.d.comb += taken.eq(test)
        m.d.comb += [
            self.rd.eq(calc.rd),
            self.result.eq(a[:32].as_signed() >> calc.right),
        ]

        # That the next instruction may be taken, and that it is behind a push, is known with the state: what fetches waits for it.
        # One behind an instruction that is refused is taken, too, and nothing comes of it.
        takes = Signal(init=1)
        pushes = Signal()
        m.d.comb += self.i.ready.eq(takes & ~self.jump & (~pushes | room))
        with m.If(pushes & room & ~refused):
            m.d.comb += [queue.valid.eq(engine_of[engine]) for engine, queue in queues.items()]
        taken_over = self.i.valid & self.i.ready
        with m.If(taken_over):
            m.d.sync += [self.pc.eq(self.i.payload.pc), failed.eq(self.i.payload.error)]
        # What is fetched comes late, and has one choice before it gets into the word: bits that a sum may change are each enabled
        # for their uses.
        sums = Signal()
        uses_of = [tuple(use for use in uses if use[1] <= bit < use[1] + use[2]) for bit in range(isa.INSTRUCTION_BITS)]
        for own, bits in groupby(range(isa.INSTRUCTION_BITS), lambda bit: uses_of[bit]):
            first, *_, last = [*bits] * 2
            fetched = self.i.payload.word[first:last + 1]
            if not own:
                with m.If(taken_over):
                    m.d.sync += word[first:last + 1].eq(fetched)
                continue
            summed, changes = Signal(last + 1 - first, name=f"summed_{first}"), Signal(name=f"changes_{first}")
            with m.Switch(use_number):
                for use in own:
                    _, field, width, rule = use
                    with m.Case(numbers[use]):
                        result = clamped(width) if rule is Rule.CLAMP else total
                        m.d.comb += [summed.eq(result[first - field:]), changes.eq(sums)]
            with m.If(taken_over | changes):
                m.d.sync += word[first:last + 1].eq(Mux(sums, summed, fetched))

        def go(state):
            m.d.sync += [takes.eq(state in ("Fetch", "Push", "Result", "Jump")), pushes.eq(state == "Push"),
                         adds.eq(state == "Add"), sums.eq(state == "Sum"), self.write.eq(state == "Result")]
            m.next = state

        def take():
            """Takes the next instruction, if there is one."""
            go("Fetch")
            with m.If(self.i.valid & ~self.jump):
                go("Decode")

        with m.FSM():
            with m.State("Fetch"):
                take()
            with m.State("Decode"):
                go("Push")
                m.d.sync += [legal_of.eq(Mux(failed, 0, Cat(legal))), zeros_of.eq(Cat(zeros))]
                for steps, has in has_steps.items():
                    with m.If(has):
                        m.d.sync += [use_number.eq(numbers[steps[0]]), self.index.eq(register_of(steps[0]))]
                with m.If(changed):
                    go("Register")
                with m.If(is_any_of(number_of["END"], number_of["BARRIER"])):
                    go("Drain")
                with m.If(operates):
                    m.d.sync += self.index.eq(Mux(calculates, calc.ra, branch.ra))
                    go("OperandA")

            # Register adder: operands, then the sum into the word. The register's number is there when its value is taken.
            with m.State("Register"):
                m.d.sync += b.eq(self.value)
                go("Sum")
            with m.State("Sum"):
                with m.Switch(use_number):
                    for number, use in enumerate(uses[1:]):
                        with m.Case(number):
                            m.d.sync += self.index.eq(register_of(use))
                m.d.sync += use_number.eq(use_number + 1)
                go("Register")
                with m.If(last_use):
                    go("Push")

            with m.State("Push"):
                with m.If(refused):
                    go("Halt")
                with m.Elif(room):
                    take()

            # CALC and BRANCH share the operands.
            with m.State("OperandA"):
                m.d.sync += [self.index.eq(Mux(calculates, calc.rb, branch.rb)), b.eq(self.value),
                             left.eq(Mux(calculates, calc.left, 0))]
                go("OperandB")
                with m.If(refused):
                    go("Halt")
            with m.State("OperandB"):
                m.d.sync += b.eq(self.value + Mux(calculates, calc.imm.as_unsigned(), 0))
                go("Branch")
                with m.If(calculates):
                    go("Add")
            with m.State("Add"):
                go("Result")
            with m.State("Result"):     # written now
                take()
            with m.State("Branch"):
                m.d.sync += self.jump.eq(taken & (branch.offset != 0))
                go("Jump")
            with m.State("Jump"):
                take()

            # END and BARRIER: what was dispatched a cycle ago is visible from the second cycle on.
            with m.State("Drain"):
                with m.If(refused):
                    go("Halt")
                with m.Elif(self.engines_idle):
                    go("Fetch")
                    with m.If(ends):
                        m.d.comb += self.ended.eq(1)
                        go("Halt")
            with m.State("Halt"):
                pass
        return m
