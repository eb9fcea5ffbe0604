"""The handshakes between blocks, each defined once.

All `wiring.Signature` are seen from the block that asks (reads, writes, waits); the block that serves flips them.
"""

from amaranth.hdl import unsigned, signed
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out, Signature

from . import isa

__all__ = ["READ_LATENCY", "instruction_layout", "ScratchpadRead", "line_write_layout", "ScratchpadWrite", "AccumulatorRead",
           "RescaleRead", "TokenWait", "TokenSignal", "InstructionStream", "ThreadState", "ThreadStatus", "PC_BITS"]

#: Cycles from an accepted read of the scratchpad or the accumulators to its data: request accepted in cycle t
#: (valid and ready), data stable in cycle t + READ_LATENCY, for that one cycle.
READ_LATENCY = 3
#: Width of an instruction number.
PC_BITS = 24


def instruction_layout(mnemonic):
    """Layout of one instruction word (256 bits) with its opcode, fields and unused bits."""
    instruction = isa.INSTRUCTIONS[mnemonic]
    members = {"opcode": unsigned(isa.OPCODE_BITS)}
    for field in instruction.field_list:
        members[field.name] = (signed if field.signed else unsigned)(field.width)
    if instruction.width < isa.INSTRUCTION_BITS:
        members["unused"] = unsigned(isa.INSTRUCTION_BITS - instruction.width)
    return data.StructLayout(members)


class ScratchpadRead(Signature):
    """Reads one line (two words) at a time; ``data`` comes READ_LATENCY cycles after the request is accepted."""

    def __init__(self, config):
        lines = config.scratchpad_words // 2
        super().__init__({
            "valid": Out(1), "ready": In(1), "line": Out((lines - 1).bit_length()),
            "data": In(8 * config.line_bytes),
        })


def line_write_layout(config):
    """Bytes of one line: those of ``data`` that ``mask`` names."""
    lines = config.scratchpad_words // 2
    return data.StructLayout({"line": (lines - 1).bit_length(), "data": 8 * config.line_bytes, "mask": config.line_bytes})


class ScratchpadWrite(Signature):
    """Writes what `line_write_layout` holds, in whole lanes of ``lane_bytes``; it can be read from the cycle after acceptance
    on."""

    def __init__(self, config):
        super().__init__({
            "valid": Out(1), "ready": In(1), **{name: Out(field.shape) for name, field in line_write_layout(config)},
        })


class AccumulatorRead(Signature):
    """Reads one accumulator word, ``cols`` int32; ``data`` comes READ_LATENCY cycles after acceptance."""

    def __init__(self, config):
        super().__init__({
            "valid": Out(1), "ready": In(1), "address": Out((config.accumulator_words - 1).bit_length()),
            "data": In(data.ArrayLayout(signed(32), config.cols)),
        })


class RescaleRead(Signature):
    """Reads the softmax rescale (0..32) of a state row; ``distance`` is valid in the cycle after ``row``."""

    def __init__(self, config):
        super().__init__({"row": Out((config.state_rows - 1).bit_length()), "distance": In(6)})


class TokenWait(Signature):
    """A thread's view of one counter: ``available`` comes from a register and says whether the counter that was ``id`` in the
    cycle before holds a token (always, for id 0), but in the cycle after the thread consumed one of that counter, never;
    ``consume`` takes it at the end of the cycle and is only raised with ``available`` and the same ``id``, which stays for another
    cycle then."""

    def __init__(self):
        super().__init__({"id": Out(isa.SEMAPHORE_BITS), "available": In(1), "consume": Out(1)})


class TokenSignal(Signature):
    """Adds one token to counter ``id`` in a cycle with ``valid`` (nothing for id 0); never refused."""

    def __init__(self):
        super().__init__({"id": Out(isa.SEMAPHORE_BITS), "valid": Out(1)})


def InstructionStream():
    """Stream of dispatched instructions (source side): the word, scalar registers added, and its number."""
    return stream.Signature(data.StructLayout({"word": unsigned(isa.INSTRUCTION_BITS), "pc": unsigned(PC_BITS)}))


class ThreadState(enum.Enum, shape=3):
    """What a thread does in a cycle, for counters and the watchdog."""
    IDLE = 0            #: no instruction
    BUSY = 1            #: moves data or computes
    WAIT_TOKEN = 2      #: waits for the counter in ``semaphore``
    WAIT_MEMORY = 3     #: waits for the bus or a bank
    WAIT_WEIGHTS = 4    #: the row streamer waits for its next tile
    DRAIN = 5           #: its pipeline empties


class ThreadStatus(Signature):
    """State of a thread: ``state`` and ``semaphore`` (while it waits for a token), number of its instruction, and
    ``idle``: no instruction accepted and unfinished, every write done."""

    def __init__(self):
        super().__init__({"state": Out(ThreadState), "semaphore": Out(isa.SEMAPHORE_BITS), "pc": Out(PC_BITS), "idle": Out(1)})
