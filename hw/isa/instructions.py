"""Every instruction with its fields."""

from .codes import INSTRUCTION_BITS, SEMAPHORE_BITS, TOKEN_BITS, WEIGHT_FORMAT_BITS
from .formats import Field, Instruction

__all__ = ["INSTRUCTIONS", "BY_OPCODE"]


def _count(name, width, doc):
    return Field(name, width, doc, count=True)


def _token(name, doc, each=None):
    fields = [Field(name, SEMAPHORE_BITS, f"{doc}; 0: none")]
    if each:
        fields.append(Field(name + "_each", 1, f"1: {each}; 0: once for the instruction"))
    return fields


_SYNC = (
    *_token("wait", "semaphore to consume from"),
    Field("wait_count", TOKEN_BITS, "tokens to consume"),
    *_token("signal", "semaphore to add to"),
    Field("signal_count", TOKEN_BITS, "tokens to add"),
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
    Field("k_offset", 4, "K tiles of panel 0 in front of K tile 0"),
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
        Field("w_format", WEIGHT_FORMAT_BITS,
              "0: int8; 1: 4-bit weights with scales (needs k_outer 0); 2: 2:4 sparse; 3: 1:4 sparse", option="compressed_weights"),
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
        *_token("dst_signal", "probabilities and rescale written", "a token for each panel, all at the end"))),
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
