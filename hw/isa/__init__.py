"""The instruction set, defined once.

Encoder, RTL decoder, golden model, disassembler and the table in ``hw/README.md`` all come from `INSTRUCTIONS`.
An instruction is 256 bits, little endian: an 8-bit opcode whose high four bits name the engine, then the fields in
the order given there, least significant first. Unused bits are zero. What each one computes is written in
``hw/README.md``; the numerics in ``sim/README.md``.

`codes.py`: sizes and codes; `formats.py`: what an instruction is; `instructions.py`: all of them; `encoding.py`: words.
"""

from .codes import (CIRCULANT_BLOCKS, INSTRUCTION_BITS, INSTRUCTION_BYTES, OPCODE_BITS, REGISTERS, SEMAPHORE_BITS,
                    SEMAPHORE_LIMIT, SEMAPHORES, SPARSE_PANELS, TOKEN_BITS, VERSION, WEIGHT_FORMAT_BITS, Condition, Element,
                    Engine, ErrorCause, WeightFormat)
from .encoding import decode, disassemble, encode, encode_program
from .formats import Field, Instruction
from .instructions import BY_OPCODE, INSTRUCTIONS

__all__ = ["VERSION", "INSTRUCTION_BYTES", "INSTRUCTION_BITS", "OPCODE_BITS", "SEMAPHORES", "SEMAPHORE_BITS", "SEMAPHORE_LIMIT",
           "TOKEN_BITS", "REGISTERS", "CIRCULANT_BLOCKS", "SPARSE_PANELS", "Engine", "Element", "Condition", "WeightFormat",
           "WEIGHT_FORMAT_BITS", "ErrorCause", "Field", "Instruction", "INSTRUCTIONS", "BY_OPCODE", "encode", "encode_program",
           "decode", "disassemble"]
