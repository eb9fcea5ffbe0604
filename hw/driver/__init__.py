"""The driver for bare-metal hosts: `weft.h` and `weft.c` beside this file, and the header of the registers, made from
their one definition."""

from pathlib import Path

from .. import isa
from ..control import register_map
from ..interfaces import ThreadState

__all__ = ["registers_header", "driver_files"]

_TOP = """\
/* Registers of the Weft accelerator: byte offsets, and masks of their fields. Generated from the definition that the
 * hardware is made from (hw/control/register_map.py). All are 32 bits wide. */
#ifndef WEFT_REGISTERS_H
#define WEFT_REGISTERS_H

"""


def _define(name, value, comment=""):
    line = f"#define WEFT_{name:<26} {value}"
    return f"{line:<51} /* {comment} */\n" if comment else f"{line}\n"


def registers_header():
    """Text of ``weft_registers.h``: offset ``WEFT_NAME`` of every register, mask ``WEFT_NAME_FIELD`` of every field (and
    ``..._SHIFT`` where it is wider than a bit), error causes ``WEFT_CAUSE_...``, thread states ``WEFT_THREAD_...``."""
    lines = [_TOP, _define("MAGIC", f"0x{register_map.MAGIC:08x}u", "what ID reads as"),
             _define("BASE_ALIGNMENT", f"{register_map.BASE_ALIGNMENT}u"),
             _define("INSTRUCTION_BYTES", f"{isa.INSTRUCTION_BYTES}u"),
             _define("SCALARS", f"{isa.REGISTERS}u", "scalar registers"), "\n"]
    for register in register_map.REGISTER_MAP:
        doc = "" if register.name == "CAUSE" else register.doc      # its values follow below
        lines.append(_define(register.name, f"0x{register.offset:03x}u", doc))
        for bits in register.bits:
            name = f"{register.name}_{bits.name.upper()}"
            lines.append(_define(name, f"0x{register.mask(bits.name):08x}u", bits.doc))
            if bits.width > 1:
                lines.append(_define(f"{name}_SHIFT", bits.low))
    lines.append("\n/* Values of CAUSE. */\n")
    lines += [_define(f"CAUSE_{cause.name}", f"{cause.value}u") for cause in isa.ErrorCause]
    lines.append("\n/* Values of a thread's STATE. */\n")
    lines += [_define(f"THREAD_{state.name}", f"{state.value}u") for state in ThreadState]
    return "".join(lines) + "\n#endif\n"


def driver_files():
    """``{file name: text}`` of the driver: all that a C compiler needs."""
    folder = Path(__file__).parent
    return {"weft_registers.h": registers_header(),
            **{name: (folder / name).read_text(encoding="utf-8") for name in ("weft.h", "weft.c")}}
