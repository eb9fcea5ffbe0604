"""Control flow: what the fetch unit does, ahead of everything else.

Branches depend on scalar registers only, never on data in memory, so the instructions that reach the engines can be
listed before any of them is executed.
"""

from types import SimpleNamespace

from weft.hw import isa
from weft.hw.errors import ProgramError

__all__ = ["Operation", "decode_image", "trace", "STEP_LIMIT"]

#: Instructions fetched before a program counts as endless.
STEP_LIMIT = 4_000_000


class Operation:
    """One executed instruction.

    ``number``: position in the order of execution; ``pc``: position in the program; ``mnemonic``; ``engine``; ``f``: fields with
    the scalar registers added (``dram_addr``, ``w_limit``, ``key_start``, ``key_limit``, ``query_start``).
    """
    __slots__ = ("number", "pc", "mnemonic", "engine", "f")

    def __init__(self, number, pc, mnemonic, engine, f):
        self.number, self.pc, self.mnemonic, self.engine, self.f = number, pc, mnemonic, engine, f

    def __str__(self):
        return f"instruction {self.pc} ({self.mnemonic})"

    def error(self, text):
        """A ProgramError that names this instruction."""
        return ProgramError(f"{self}: {text}")


def decode_image(image):
    """Instructions of an image, ``[(Instruction, fields as a namespace)]``; ProgramError names the illegal one."""
    code = bytes(image.code)
    if len(code) != isa.INSTRUCTION_BYTES * image.instructions:
        raise ProgramError(f"the program's {image.instructions} instructions do not fit into its {image.constant.size} "
                           "bytes of constants")
    program = []
    for pc in range(image.instructions):
        try:
            instruction, values = isa.decode(code[pc * isa.INSTRUCTION_BYTES:(pc + 1) * isa.INSTRUCTION_BYTES])
        except ProgramError as error:
            raise ProgramError(f"instruction {pc}: {error}") from None
        program.append((instruction, SimpleNamespace(**values)))
    return program


def _signed32(value):
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


_ADDED = (("dram_addr", "dram_reg"), ("w_limit", "w_limit_reg"), ("key_start", "key_reg"), ("key_limit", "limit_reg"),
          ("query_start", "query_reg"))
_CLAMPED = {"w_limit", "key_limit"}


def _with_registers(operation, registers):
    """Fields with the scalar registers added; checks what the hardware has no wider type for."""
    added = {}
    f = operation.f
    for name, register in _ADDED:
        number = getattr(f, register, 0)
        if not number:
            continue
        value = getattr(f, name) + registers[number]
        if name in _CLAMPED:
            value = min(max(value, 0), 65535)
        elif value < 0 or (name != "dram_addr" and value > 65535):
            raise operation.error(f"{name} with register {number} added is {value}, out of range")
        added[name] = value
    if added:
        operation.f = SimpleNamespace(**{**vars(f), **added})
    return operation


def trace(program, registers=None):
    """Every instruction executed, control instructions included, in order: ``[Operation]``; the last one is END.

    ``registers``: initial values, ``{number: int}``. Raises ProgramError if the program leaves its instructions or does
    not end.
    """
    values = [0] * isa.REGISTERS
    for number, value in (registers or {}).items():
        number = int(number)
        if not 0 < number < isa.REGISTERS:
            raise ProgramError(f"scalar registers are numbered 1 to {isa.REGISTERS - 1}, not {number}")
        values[number] = _signed32(int(value))
    operations, pc = [], 0
    while True:
        if not 0 <= pc < len(program):
            raise ProgramError(f"the program continues at instruction {pc}, it has {len(program)}")
        if len(operations) >= STEP_LIMIT:
            raise ProgramError(f"the program has not ended after {STEP_LIMIT} instructions")
        instruction, f = program[pc]
        operation = Operation(len(operations), pc, instruction.mnemonic, instruction.engine, f)
        operations.append(operation)
        pc += 1
        match instruction.mnemonic:
            case "END":
                return operations
            case "CALC":
                value = _signed32((values[f.ra] << f.left) + values[f.rb] + f.imm) >> f.right
                if f.rd:
                    values[f.rd] = value
            case "BRANCH":
                a, b = values[f.ra], values[f.rb]
                if (a == b, a != b, a < b, a >= b)[f.cond]:
                    pc += f.offset
            case "BARRIER":
                pass
            case _:
                _with_registers(operation, values)
