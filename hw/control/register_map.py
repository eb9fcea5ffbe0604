"""The AXI4-Lite registers, defined once: the RTL, the host's side and the table in ``hw/README.md`` read this list.

Every register is 32 bits wide, little endian, at a byte offset that is a multiple of 4. Unknown offsets read as zero
and ignore writes. Pairs ``_LO``, ``_HI`` are the halves of one value.
"""

from dataclasses import dataclass

from .. import isa

__all__ = ["MAGIC", "ADDRESS_BITS", "BASE_ALIGNMENT", "THREADS", "THREAD_STRIDE", "Bits", "Register", "REGISTER_MAP", "BY_NAME",
           "offset", "markdown_table"]

#: Value of ``ID``: "WEFT", first letter in the lowest byte.
MAGIC = int.from_bytes(b"WEFT", "little")
#: Width of the AXI4-Lite address: a window of 4 KiB.
ADDRESS_BITS = 12
#: What BASE is a multiple of.
BASE_ALIGNMENT = 4096
#: Threads in the order of their register blocks.
THREADS = ("load", "weights", "tensor", "vector", "store")
#: Bytes between the register blocks of two threads.
THREAD_STRIDE = 0x20
_THREAD_BASE = 0x080


@dataclass(frozen=True)
class Bits:
    """A field of a register: ``width`` bits from ``low`` on."""
    name: str
    low: int
    width: int
    doc: str


@dataclass(frozen=True)
class Register:
    """A register: byte offset, access (``R`` or ``RW``), meaning, fields if it has any."""
    name: str
    offset: int
    access: str
    doc: str
    bits: tuple = ()

    def field(self, name):
        """The field of that name; KeyError if there is none."""
        for bits in self.bits:
            if bits.name == name:
                return bits
        raise KeyError(name)

    def mask(self, name):
        """The field's bits as a mask."""
        bits = self.field(name)
        return ((1 << bits.width) - 1) << bits.low

    def extract(self, name, value):
        """The field's value in a value of the register."""
        return (value & self.mask(name)) >> self.field(name).low


def _threads():
    for number, thread in enumerate(THREADS):
        base, upper = _THREAD_BASE + number * THREAD_STRIDE, thread.upper()
        yield Register(f"{upper}_STATE", base, "R", f"what the {thread} thread does now", (
            Bits("state", 0, 3, "0 idle, 1 busy, 2 waits for a token, 3 waits for memory, 4 waits for weights, 5 drains"),
            Bits("semaphore", 8, isa.SEMAPHORE_BITS, "token counter waited for, in state 2"),
            Bits("idle", 16, 1, "no instruction accepted and unfinished")))
        yield Register(f"{upper}_PC", base + 0x04, "R", f"number of the {thread} thread's instruction")
        for place, (state, doc) in enumerate((
                ("BUSY", "moved data or computed"), ("WAIT_TOKEN", "waited for a token"),
                ("WAIT_MEMORY", "waited for the bus or a memory bank"), ("WAIT_WEIGHTS", "waited for the next weight tile"),
                ("DRAIN", "emptied its pipeline"))):
            yield Register(f"{upper}_{state}", base + 0x08 + 4 * place, "R",
                           f"cycles since the start in which the {thread} thread {doc}")


#: Every register, in order of its offset.
REGISTER_MAP = (
    Register("ID", 0x000, "R", f"0x{MAGIC:08x}"),
    Register("VERSION", 0x004, "R", "version of the instruction set"),
    Register("FINGERPRINT", 0x008, "R", "identity of the configuration; a program is bound to it"),
    Register("CONTROL", 0x00C, "RW", "start, stop, interrupt enable", (
        Bits("start", 0, 1, "writing 1 while not busy starts; reads as 0"),
        Bits("irq_enable", 1, 1, "raises `irq` while `irq` in STATUS is set"),
        Bits("abort", 2, 1, "writing 1 while busy stops with cause ABORTED; reads as 0"))),
    Register("STATUS", 0x010, "RW", "what the accelerator does", (
        Bits("busy", 0, 1, "from the start to done or error; also while the bus drains after an error"),
        Bits("done", 1, 1, "reached END; cleared by a start"),
        Bits("error", 2, 1, "stopped without reaching END; cleared by a start"),
        Bits("irq", 3, 1, "done or error since the last start; writing 1 clears it"))),
    Register("CAUSE", 0x014, "R", "why it stopped: " + ", ".join(f"{c.value} {c.name}" for c in isa.ErrorCause)),
    Register("ERROR_PC", 0x018, "R", "number of the instruction that caused the error (for ABORTED: the next one to be "
             "dispatched), 0 without an error; its address is base + program + 32 * number"),
    Register("PC", 0x01C, "R", "number of the next instruction to be dispatched"),
    Register("BASE_LO", 0x020, "RW", f"first byte of the program's memory, a multiple of {BASE_ALIGNMENT}"),
    Register("BASE_HI", 0x024, "RW", ""),
    Register("PROGRAM_LO", 0x028, "RW", "first instruction, bytes from the base, a multiple of 128"),
    Register("PROGRAM_HI", 0x02C, "RW", ""),
    Register("CYCLES_LO", 0x030, "R", "cycles from the start to done; reading it holds CYCLES_HI"),
    Register("CYCLES_HI", 0x034, "R", ""),
    Register("READ_BEATS", 0x038, "R", "data beats read since the start"),
    Register("WRITE_BEATS", 0x03C, "R", "data beats written since the start"),
    *(Register(f"R{n}", 0x040 + 4 * n, "RW" if n else "R",
               "scalar register, written only while not busy; anything until it is written" if n else "scalar register 0, always 0")
      for n in range(isa.REGISTERS)),
    *_threads(),
)

#: Every register by its name.
BY_NAME = {register.name: register for register in REGISTER_MAP}


def offset(name):
    """Byte offset of a register."""
    return BY_NAME[name].offset


def markdown_table():
    """The register table of ``hw/README.md``; the five threads' equal blocks are shown once."""
    lines = ["| offset | register | access | meaning |", "|---|---|---|---|"]
    first = THREADS[0].upper() + "_"
    others = tuple(t.upper() + "_" for t in THREADS[1:])
    for r in REGISTER_MAP:
        if r.name.startswith(others):
            continue
        name, place, doc = r.name, f"0x{r.offset:03x}", r.doc
        if name.startswith(first):
            name, place = "*THREAD*_" + name[len(first):], f"0x{r.offset:03x} + 0x{THREAD_STRIDE:02x} * t"
            doc = doc.replace(f"the {THREADS[0]} thread", "thread t")
        if name.startswith("R") and name[1:].isdigit():
            if name == "R0":
                lines.append(f"| 0x{r.offset:03x} + 4 * n | R0 .. R{isa.REGISTERS - 1} | RW | scalar register n, written "
                             "only while not busy, anything until it is written; R0 is always 0 |")
            continue
        lines.append(f"| {place} | {name} | {r.access} | {doc} |")
        for b in r.bits:
            at = f"{b.low + b.width - 1}:{b.low}" if b.width > 1 else str(b.low)
            lines.append(f"| | &nbsp;&nbsp;[{at}] {b.name} | | {b.doc} |")
    names = ", ".join(f"{n} {t.upper()}" for n, t in enumerate(THREADS))
    return "\n".join(lines) + f"\n\nThreads t: {names}.\n"
