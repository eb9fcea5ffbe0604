"""From scheduled instructions to images: code behind the constants, buffers behind the code."""

from dataclasses import dataclass

import numpy as np

from weft.hw import isa
from weft.hw.errors import CompileError
from weft.hw.image import Image

from .layout import round_up

__all__ = ["Assembled", "assemble"]

#: A program's first instruction lies at a multiple of this many bytes.
_CODE_ALIGNMENT = 128


@dataclass
class Assembled:
    """``images`` by name of the program; ``first``: offset of the first buffer in memory."""
    images: dict
    first: int


def assemble(config, memory, programs, buffers=None):
    """Images of ``programs`` (lists of `weft.lower.builder.Item` by name) that share ``memory``.

    ``buffers(program name, buffer name)``: whether a program knows a buffer; by default every one does. Raises
    CompileError if the address bits do not reach.
    """
    starts, total = {}, 0
    for name, items in programs.items():
        starts[name] = total = round_up(total, _CODE_ALIGNMENT)
        total += isa.INSTRUCTION_BYTES * len(items)
    constant, code, first, known, size = memory.finish(total)
    if size > 1 << min(40, config.address_bits):
        raise CompileError(f"the program needs {size} bytes of memory, {config.address_bits} address bits reach "
                           f"{1 << config.address_bits}")
    images = {}
    for name, items in programs.items():
        for item in items:
            if item.relocate:
                item.fields["dram_addr"] += first
        start = code + starts[name]
        encoded = isa.encode_program([(item.mnemonic, item.fields) for item in items])
        constant[start:start + np.size(encoded)] = encoded
        mine = [b for b in known if b.kind in ("constant", "state") or buffers is None or buffers(name, b.name)]
        images[name] = Image(config, constant, size, start, len(items), mine, [item.source for item in items])
    return Assembled(images, first)
