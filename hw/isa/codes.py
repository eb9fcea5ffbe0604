"""Sizes and codes of the instruction set."""

import enum

__all__ = ["VERSION", "INSTRUCTION_BYTES", "INSTRUCTION_BITS", "OPCODE_BITS", "SEMAPHORES", "SEMAPHORE_BITS", "SEMAPHORE_LIMIT",
           "TOKEN_BITS", "REGISTERS", "CIRCULANT_BLOCKS", "Engine", "Element", "Condition", "WeightFormat", "WEIGHT_FORMAT_BITS",
           "SPARSE_PANELS", "ErrorCause"]

#: Version of this instruction set; programs and hardware must agree.
VERSION = 5
INSTRUCTION_BYTES = 32
INSTRUCTION_BITS = 8 * INSTRUCTION_BYTES
#: The first bits of an instruction.
OPCODE_BITS = 8
#: Token counters; number 0 means "none".
SEMAPHORES = 32
#: Bits of a counter's number.
SEMAPHORE_BITS = (SEMAPHORES - 1).bit_length()
#: Largest value of a token counter, and of the tokens that an instruction consumes or adds.
SEMAPHORE_LIMIT = 255
#: Bits of a number of tokens.
TOKEN_BITS = SEMAPHORE_LIMIT.bit_length()
#: Scalar registers of 32 bits; register 0 reads as zero.
REGISTERS = 16

#: Sizes of the blocks of circulant weights (``block`` of MATMUL_C); which ones a configuration takes: `Config.circulant`.
CIRCULANT_BLOCKS = (4, 8, 16)


class Engine(enum.IntEnum):
    """High four bits of the opcode."""
    CONTROL = 0
    LOAD = 1
    TENSOR = 2
    VECTOR = 3
    STORE = 4


class Element(enum.IntEnum):
    """Element type of a vector operand."""
    INT8 = 0
    UINT8 = 1
    INT16 = 2
    ACC = 3


class Condition(enum.IntEnum):
    """Comparison of a branch, both registers signed."""
    EQ = 0
    NE = 1
    LT = 2
    GE = 3


class WeightFormat(enum.IntEnum):
    """How streamed weights lie in memory (``w_format`` of MATMUL); which ones a configuration takes: `Config.weight_formats`."""
    INT8 = 0
    FOUR_BIT = 1
    SPARSE_2_4 = 2
    SPARSE_1_4 = 3


#: Bits of a `WeightFormat`; more than there are need.
WEIGHT_FORMAT_BITS = 3
#: Panels of K that a tile covers, of the formats whose tiles hold what is not zero of several.
SPARSE_PANELS = {WeightFormat.SPARSE_2_4: 2, WeightFormat.SPARSE_1_4: 4}


class ErrorCause(enum.IntEnum):
    """Why the accelerator stopped."""
    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    READ_ERROR = 2
    WRITE_ERROR = 3
    TOKEN_OVERFLOW = 4
    ABORTED = 5
