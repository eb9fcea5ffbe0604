"""The instruction set, defined once.

Encoder, RTL decoder, golden model, disassembler and the table in ``hw/README.md`` all come from `INSTRUCTIONS`.
An instruction is 256 bits, little endian: an 8-bit opcode whose high four bits name the engine, then the fields in
the order given here, least significant first. Unused bits are zero. What each one computes is written in
``hw/README.md``; the numerics in ``sim/README.md``.
"""

import enum
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import ProgramError

__all__ = ["VERSION", "INSTRUCTION_BYTES", "INSTRUCTION_BITS", "SEMAPHORES", "SEMAPHORE_LIMIT", "REGISTERS", "Engine",
           "CIRCULANT_BLOCKS", "SPARSE_PANELS", "Element", "Condition", "WeightFormat", "ErrorCause", "Field", "Instruction",
           "INSTRUCTIONS", "BY_OPCODE", "encode",
           "encode_program", "decode", "disassemble", "markdown_table"]

#: Version of this instruction set; programs and hardware must agree.
VERSION = 4
INSTRUCTION_BYTES = 32
INSTRUCTION_BITS = 8 * INSTRUCTION_BYTES
#: Token counters; number 0 means "none".
SEMAPHORES = 32
#: Largest value of a token counter.
SEMAPHORE_LIMIT = 255
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


@dataclass(frozen=True)
class Field:
    """One field of an instruction: name, width in bits, meaning; signed fields are two's complement, counts at least 1.

    ``option``: name of the option (an attribute of `weft.hw.config.Config`) without which the field must be zero.
    """
    name: str
    width: int
    doc: str
    signed: bool = False
    count: bool = False
    option: str = ""


@dataclass(frozen=True)
class Instruction:
    """One instruction: mnemonic, opcode and fields (``fields`` maps the name to the `Field`).

    ``option``: name of the option (an attribute of `weft.hw.config.Config`) without which it is illegal.
    """
    mnemonic: str
    opcode: int
    doc: str
    field_list: tuple
    option: str = ""

    @cached_property
    def engine(self):
        return Engine(self.opcode >> 4)

    @cached_property
    def fields(self):
        return {f.name: f for f in self.field_list}

    @cached_property
    def offsets(self):
        """Bit position of each field in the instruction word."""
        offsets, position = {}, 8
        for f in self.field_list:
            offsets[f.name] = position
            position += f.width
        return offsets

    @cached_property
    def width(self):
        return 8 + sum(f.width for f in self.field_list)

    @cached_property
    def counts(self):
        """Names of the fields that are at least 1."""
        return tuple(f.name for f in self.field_list if f.count)

    @cached_property
    def has_ring(self):
        """Whether it may go round a ring: ``ring_start`` is less than ``ring_slots``, unless that is 0 (no ring)."""
        return "ring_slots" in self.fields

    def unused(self, config):
        """``[(first, stop)]``: bits of the word that mean nothing in a configuration and are zero there."""
        runs, stop = [], 8
        for f in self.field_list:
            if not f.option or getattr(config, f.option):
                if self.offsets[f.name] > stop:
                    runs.append((stop, self.offsets[f.name]))
                stop = self.offsets[f.name] + f.width
        return runs + [(stop, INSTRUCTION_BITS)] * (stop < INSTRUCTION_BITS)

    @cached_property
    def has_formats(self):
        """Whether ``w_format``, a `WeightFormat`, says how weights lie in memory; 4-bit weights take ``k_outer`` 0."""
        return "w_format" in self.fields

    @cached_property
    def has_blocks(self):
        """Whether ``block`` is the size of the blocks of circulant weights."""
        return "block" in self.fields

    def available(self, config):
        """Whether a configuration has it."""
        return not self.option or bool(getattr(config, self.option))

    def violation(self, values, config):
        """What is illegal in the fields' values, a sentence that names field and value, or None.

        The accelerator stops at such an instruction with `ErrorCause.ILLEGAL_INSTRUCTION`, as it does at an unknown opcode.
        """
        if not self.available(config):
            return f"the configuration is without {self.option}"
        for name in self.counts:
            if values[name] < 1:
                return f"{name} must be at least 1, not {values[name]}"
        if self.has_ring and 0 < values["ring_slots"] <= values["ring_start"]:
            return f"ring_start is {values['ring_start']}, the ring has {values['ring_slots']} slots"
        for f in self.field_list:
            if f.option and values[f.name] and not getattr(config, f.option):
                return f"{f.name} is {values[f.name]}, the configuration is without {f.option}"
        if self.has_formats:
            if values["w_format"] not in config.weight_formats:
                return f"w_format is {values['w_format']}, the configuration takes {', '.join(map(str, config.weight_formats))}"
            if values["w_format"] == WeightFormat.FOUR_BIT and values["k_outer"]:
                return f"k_outer must be 0 where w_format is {values['w_format']}"
            panels = SPARSE_PANELS.get(values["w_format"], 1)
            if values["k_missing"] >= panels:
                return f"k_missing must be less than the {panels} panels of a K tile, not {values['k_missing']}"
        if self.has_blocks and values["block"] not in config.circulant:
            return f"block is {values['block']}, the configuration takes {', '.join(map(str, config.circulant))}"
        return None


def _count(name, width, doc):
    return Field(name, width, doc, count=True)


def _token(name, doc, each=None):
    fields = [Field(name, 5, f"{doc}; 0: none")]
    if each:
        fields.append(Field(name + "_each", 1, f"1: {each}; 0: once for the instruction"))
    return fields


_SYNC = (
    *_token("wait", "semaphore to consume from"),
    Field("wait_count", 8, "tokens to consume"),
    *_token("signal", "semaphore to add to"),
    Field("signal_count", 8, "tokens to add"),
)

_DMA = (
    Field("dram_addr", 40, "first byte in memory, relative to the base register"),
    Field("dram_reg", 4, "scalar register added to dram_addr (signed)"),
    Field("spm_addr", 20, "first scratchpad word (slot 0 of the ring, if there is one)"),
    _count("run_words", 16, "words of one contiguous run"),
    _count("inner_count", 14, "runs in one outer iteration"),
    Field("inner_dram_stride", 28, "bytes between runs in memory"),
    Field("inner_spm_stride", 20, "words between runs in the scratchpad"),
    _count("outer_count", 14, "outer iterations"),
    Field("outer_dram_stride", 32, "bytes between outer iterations in memory"),
    Field("outer_spm_stride", 20, "words between outer iterations (between ring slots) in the scratchpad"),
    Field("ring_slots", 6, "slots of the scratchpad ring; 0: no ring"),
    Field("ring_start", 6, "slot of the first outer iteration"),
    *_token("wait", "consumed before the iteration's first access", "once for each outer iteration"),
    *_token("signal", "added when the iteration's last byte has arrived", "once for each outer iteration"),
)

_MATMUL = (
    Field("a_base", 20, "word of row 0, K panel 0 of the moving operand"),
    Field("a_panel_stride", 20, "words between K panels of the moving operand"),
    Field("a_unsigned", 1, "moving operand is uint8 instead of int8"),
    _count("rows", 12, "rows M of the moving operand, streamed for each tile"),
    _count("k_tiles", 12, "K tiles"),
    _count("n_tiles", 12, "N tiles"),
    Field("k_outer", 1, "0: for n: for k (K innermost); 1: for k: for n"),
    Field("acc_base", 14, "accumulator word of row 0, N tile 0"),
    Field("acc_stride", 14, "accumulator words between N tiles"),
    Field("accumulate", 1, "1: K tile 0 adds to the accumulators; 0: it overwrites them"),
    Field("rescale", 1, "1: K tile 0 first shifts what it adds to, right by the row's softmax rescale (needs accumulate)"),
    Field("state_base", 10, "state row of row 0, for rescale"),
    *_token("a_wait", "moving operand ready", "once for each K panel, at its first use"),
    *_token("a_signal", "moving operand no longer needed"),
    *_token("acc_wait", "accumulators free", "once for each N tile, before its first K tile"),
    *_token("acc_signal", "accumulators complete", "once for each N tile, after its last K tile is written"),
)

_KV = (
    Field("w_base", 20, "word of key 0, panel 0 of the stationary operand"),
    Field("w_panel_stride", 20, "words between panels of the stationary operand"),
    Field("w_limit", 16, "keys present; keys from here on load as zero and are not read"),
    Field("w_limit_reg", 4, "scalar register added to w_limit (signed, clamped to 0..65535)"),
    *_token("w_wait", "stationary operand ready"),
    *_token("w_signal", "stationary operand no longer needed"),
)

_CIRCULANT = (
    Field("w_base", 20, "word of row 0, panel 0 of the stationary operand"),
    Field("w_panel_stride", 20, "words between panels of the stationary operand"),
    *_token("w_wait", "stationary operand ready"),
    *_token("w_signal", "stationary operand no longer needed"),
    Field("block", 5, "b, the size of the blocks: 4, 8 or 16"),
    Field("w_single", 1, "0: an N tile is cols/b rows of the stationary operand, one for each b columns; 1: it is one row, for the "
          "columns of block w_column, the others are zero"),
    Field("w_column", 4, "with w_single: number of the block of columns"),
    Field("w_unsigned", 1, "1: bytes of the stationary operand are uint8, and count less 128"),
)

_VECTOR_TOKENS = (
    *_token("src_wait", "source ready", "once for each tile"),
    *_token("src_signal", "source no longer needed", "once for each tile"),
    *_token("dst_wait", "destination free", "once for each panel"),
    *_token("dst_signal", "destination written", "once for each panel"),
)

_ROWS_TILES = (
    _count("rows", 12, "rows"),
    _count("tiles", 12, "tiles of cols channels; whole panels"),
)

_SPM_SOURCE = (
    Field("src_base", 20, "word of row 0, panel 0 of the source"),
    Field("src_row_stride", 12, "words between rows"),
    Field("src_panel_stride", 20, "words between panels"),
)

_DESTINATION = (
    Field("dst_type", 2, "element type: INT8, UINT8 or INT16"),
    Field("dst_base", 20, "word of row 0, panel 0 of the destination"),
    Field("dst_row_stride", 12, "words between rows"),
    Field("dst_panel_stride", 20, "words between panels"),
)

_LIST = (
    # Control: executed by the fetch unit, in program order, as it dispatches.
    Instruction("END", 0x00, "waits until every engine is idle and every write is acknowledged, then raises done", ()),
    Instruction("BARRIER", 0x01, "waits until every engine is idle and every write is acknowledged", ()),
    Instruction("CALC", 0x02, "R[rd] = ((R[ra] << left) + R[rb] + imm) >> right, 32 bits, arithmetic shift", (
        Field("rd", 4, "destination register"), Field("ra", 4, "first operand"), Field("rb", 4, "second operand"),
        Field("left", 5, "left shift of the first operand"), Field("right", 5, "right shift of the sum"),
        Field("imm", 32, "constant", signed=True))),
    Instruction("BRANCH", 0x03, "if R[ra] cond R[rb]: continue offset instructions after this one (0: the next)", (
        Field("cond", 2, "EQ, NE, LT or GE"), Field("ra", 4, "first operand"), Field("rb", 4, "second operand"),
        Field("offset", 24, "instructions to skip; negative goes back", signed=True))),
    # Load: memory to scratchpad.
    Instruction("LOAD_SYNC", 0x10, "consumes and adds tokens", _SYNC),
    Instruction("LOAD", 0x11, "copies outer_count x inner_count runs from memory to the scratchpad", _DMA),
    Instruction("INDEX", 0x12, "reads int32 row numbers from memory into the index memory, from entry 0 on", (
        Field("dram_addr", 40, "first byte in memory, relative to the base register"),
        Field("dram_reg", 4, "scalar register added to dram_addr (signed)"),
        _count("count", 11, "row numbers to read"),
        *_token("wait", "consumed before the first access"))),
    Instruction("GATHER", 0x13, "copies rows of a table in memory, chosen by the index memory, to the scratchpad", (
        Field("dram_addr", 40, "byte of table row 0 in memory, relative to the base register"),
        Field("dram_reg", 4, "scalar register added to dram_addr (signed)"),
        Field("dram_stride", 28, "bytes between table rows"),
        Field("spm_addr", 20, "scratchpad word of the first copied row"),
        Field("spm_stride", 20, "words between copied rows"),
        _count("run_words", 16, "words of one row"),
        Field("first", 10, "first entry of the index memory"),
        _count("count", 11, "rows to copy"),
        *_token("wait", "consumed before the first access"),
        *_token("signal", "added when the last byte has arrived"))),
    # Tensor: scratchpad to accumulators through the array.
    Instruction("TENSOR_SYNC", 0x20, "consumes and adds tokens", _SYNC),
    Instruction("MATMUL", 0x21, "moving operand times weights streamed through the scratchpad", (
        *_MATMUL,
        Field("w_base", 20, "word of tile 0 (of ring slot 0)"),
        _count("chunk_tiles", 12, "tiles in one chunk: the unit of w_wait, w_signal and the ring"),
        Field("ring_slots", 6, "slots (chunks) of the ring; 0: no ring, all chunks are contiguous"),
        Field("ring_start", 6, "slot of the first chunk"),
        *_token("w_wait", "consumed before each chunk's first tile is read"),
        *_token("w_signal", "added when each chunk's last tile has been read"),
        Field("w_format", 3, "0: int8; 1: 4-bit weights with scales (needs k_outer 0); 2: 2:4 sparse; 3: 1:4 sparse",
              option="compressed_weights"),
        Field("w_group", 6, "K tiles that share a row of scales; 0: each half of a tile has its own", option="four_bit"),
        Field("s_base", 20, "word of N tile 0's rows of scales", option="four_bit"),
        Field("k_missing", 2, "panels that the last K tile of sparse weights lacks, less than it covers", option="sparsity"))),
    Instruction("MATMUL_KT", 0x22, "scores: the stationary tile is K transposed (tile rows = features, columns = keys)",
                (*_MATMUL, *_KV)),
    Instruction("MATMUL_V", 0x23, "context: the stationary tile is V (tile rows = keys, columns = features)",
                (*_MATMUL, *_KV)),
    Instruction("MATMUL_C", 0x24, "circulant blocks: every b columns of the stationary tile are a row of the stationary operand, "
                "turned by one from column to column", (*_MATMUL, *_CIRCULANT), option="circulant"),
    # Vector: everything between matrix products.
    Instruction("VECTOR_SYNC", 0x30, "consumes and adds tokens", _SYNC),
    Instruction("REQUANT", 0x31, "requantizes accumulators or scratchpad rows, per channel; optionally product with or "
                "residual of a second operand, row scale of softmax, table", (
        Field("src_type", 2, "element type: INT8, UINT8, INT16 or ACC"),
        *_SPM_SOURCE,
        Field("res_type", 2, "element type of the second operand: INT8, UINT8 or INT16"),
        Field("res_base", 20, "word of row 0, panel 0 of the second operand"),
        Field("res_row_stride", 12, "words between rows"),
        Field("res_panel_stride", 20, "words between panels"),
        *_DESTINATION,
        *_ROWS_TILES,
        Field("param_base", 20, "word of the first group's parameter records"),
        Field("param_hold", 1, "1: the first tile's records serve every tile"),
        Field("residual", 1, "adds the second operand after requantization"),
        Field("multiply", 1, "multiplies source and second operand before requantization"),
        Field("row_scale", 1, "multiplier and shift are the row's softmax division instead of the records'"),
        Field("table", 1, "looks the 8-bit result up in a table"),
        Field("slot", 1, "table slot"),
        Field("state_base", 10, "state row of row 0, for row_scale"),
        *_VECTOR_TOKENS)),
    Instruction("STATS", 0x32, "row statistics of int16 rows for NORM: sums, variance, reciprocal square root", (
        *_SPM_SOURCE, *_ROWS_TILES,
        _count("features", 15, "D, the features that count; channels beyond must hold zero"),
        Field("rms", 1, "1: RMSNorm (no mean)"),
        Field("eps", 60, "added to D*S2 - S1*S1"),
        Field("state_base", 10, "state row of row 0"),
        *_token("src_wait", "source ready"), *_token("src_signal", "source no longer needed"))),
    Instruction("NORM", 0x33, "normalizes int16 rows by their statistics, then requantizes per channel", (
        *_SPM_SOURCE, *_DESTINATION, *_ROWS_TILES,
        _count("features", 15, "D, as in STATS"),
        Field("param_base", 20, "word of the first group's parameter records"),
        Field("state_base", 10, "state row of row 0"),
        *_VECTOR_TOKENS)),
    Instruction("SOFTMAX", 0x34, "one key block of the one-pass softmax: scores to probabilities, running maximum and sum", (
        Field("acc_base", 14, "accumulator word of row 0, key tile 0"),
        Field("acc_stride", 14, "accumulator words between key tiles"),
        _count("rows", 12, "query rows"),
        _count("tiles", 8, "key tiles of this block; whole panels, at most key_block"),
        Field("key_start", 16, "number of the block's first key, a multiple of the panel"),
        Field("key_reg", 4, "scalar register added to key_start"),
        Field("key_limit", 16, "keys from this number on are masked"),
        Field("limit_reg", 4, "scalar register added to key_limit (signed, clamped to 0..65535)"),
        Field("causal", 1, "1: keys after the query's own position are masked"),
        Field("query_start", 16, "position of query row 0"),
        Field("query_reg", 4, "scalar register added to query_start"),
        Field("mask", 1, "1: keys whose bit in the mask row is 0 are masked"),
        Field("mask_base", 20, "word of query row 0's mask bits for key tile 0"),
        Field("mask_row_stride", 12, "words between mask rows; 0: one row for all"),
        Field("dst_base", 20, "word of row 0, panel 0 of the probabilities (uint8)"),
        Field("dst_panel_stride", 20, "words between panels"),
        Field("param_base", 20, "word of the score records; the output scale's follow them"),
        Field("first", 1, "1: the rows' state starts empty"),
        Field("last", 1, "1: computes the rows' division for row_scale"),
        Field("state_base", 10, "state row of row 0"),
        *_token("src_wait", "scores complete", "a token for each tile, all before the first row"),
        *_token("src_signal", "scores no longer needed", "a token for each tile, all at the end"),
        *_token("dst_wait", "destination free"),
        *_token("dst_signal", "probabilities written and state valid", "a token for each panel, all at the end"))),
    Instruction("TABLE", 0x35, "loads a 256-entry table from the scratchpad", (
        Field("src_base", 20, "word of entry 0; entry of byte b at byte b"),
        Field("slot", 1, "table slot"),
        *_token("src_wait", "source ready"), *_token("src_signal", "source no longer needed"))),
    # Store: scratchpad to memory.
    Instruction("STORE_SYNC", 0x40, "consumes and adds tokens", _SYNC),
    Instruction("STORE", 0x41, "copies outer_count x inner_count runs from the scratchpad to memory", _DMA),
)

#: Every instruction by its mnemonic.
INSTRUCTIONS = {i.mnemonic: i for i in _LIST}
#: Every instruction by its opcode.
BY_OPCODE = {i.opcode: i for i in _LIST}

for _i in _LIST:
    assert _i.width <= INSTRUCTION_BITS, (_i.mnemonic, _i.width)
    # What a configuration lacks lies beyond what it has.
    assert [bool(f.option) for f in _i.field_list] == sorted(bool(f.option) for f in _i.field_list), _i.mnemonic


def encode(mnemonic, /, **values):
    """One instruction as an integer of 256 bits; fields left out are zero.

    Raises ProgramError for an unknown mnemonic or field and for a value that does not fit its field.
    """
    if mnemonic not in INSTRUCTIONS:
        raise ProgramError(f"no instruction is named {mnemonic!r}")
    instruction = INSTRUCTIONS[mnemonic]
    word = instruction.opcode
    for name, value in values.items():
        if name not in instruction.fields:
            raise ProgramError(f"{mnemonic} has no field {name!r}")
        field, value = instruction.fields[name], int(value)
        low, high = (-(1 << field.width - 1), (1 << field.width - 1) - 1) if field.signed else (0, (1 << field.width) - 1)
        if not low <= value <= high:
            raise ProgramError(f"{mnemonic}.{name} must be from {low} to {high}, not {value}")
        word |= (value & ((1 << field.width) - 1)) << instruction.offsets[name]
    return word


def encode_program(instructions):
    """Instructions, each ``(mnemonic, fields)``, as uint8[32 * count]."""
    data = b"".join(encode(m, **f).to_bytes(INSTRUCTION_BYTES, "little") for m, f in instructions)
    return np.frombuffer(data, np.uint8)


def decode(word):
    """``(Instruction, {field: value})`` of one instruction, an integer or 32 bytes.

    Raises ProgramError for an illegal opcode and for bits set outside the fields.
    """
    if not isinstance(word, int):
        word = int.from_bytes(bytes(word), "little")
    instruction = BY_OPCODE.get(word & 0xFF)
    if instruction is None:
        raise ProgramError(f"illegal opcode 0x{word & 0xFF:02x}")
    if word >> instruction.width:
        raise ProgramError(f"{instruction.mnemonic} has bits set beyond its fields")
    values = {}
    for name, field in instruction.fields.items():
        value = word >> instruction.offsets[name] & ((1 << field.width) - 1)
        if field.signed and value >> field.width - 1:
            value -= 1 << field.width
        values[name] = value
    return instruction, values


def disassemble(code):
    """Lines of text for uint8[32 * count], one an instruction: number, mnemonic, the fields that are not zero."""
    data = bytes(code)
    if len(data) % INSTRUCTION_BYTES:
        raise ProgramError(f"a program is a whole number of {INSTRUCTION_BYTES}-byte instructions, not {len(data)} bytes")
    for n in range(len(data) // INSTRUCTION_BYTES):
        try:
            instruction, values = decode(data[n * INSTRUCTION_BYTES:(n + 1) * INSTRUCTION_BYTES])
        except ProgramError as error:
            yield f"{n:6d}  ({error})"
            continue
        yield f"{n:6d}  {instruction.mnemonic:<12}" + " ".join(f"{k}={v}" for k, v in values.items() if v)


def markdown_table():
    """The instruction table of ``hw/README.md``."""
    lines = []
    for i in _LIST:
        lines += [f"#### `{i.mnemonic}` 0x{i.opcode:02x}", "", i.doc[0].upper() + i.doc[1:] + ".", ""]
        if i.field_list:
            lines += ["| bits | field | meaning |", "|---|---|---|"]
            for f in i.field_list:
                low = i.offsets[f.name]
                doc = f.doc + " (signed)" * f.signed + " (at least 1)" * f.count + f" (with `{f.option}`)" * bool(f.option)
                lines.append(f"| {low + f.width - 1}:{low} | `{f.name}` | {doc} |")
            lines.append("")
    return "\n".join(lines)
