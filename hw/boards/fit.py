"""Whether an accelerator fits a board: multipliers and blocks of RAM, counted in its Verilog before any synthesis."""

from dataclasses import dataclass
from math import ceil

from .. import verilog
from ..dma.axi import PAGE_BYTES
from ..errors import ConfigError
from ..memory.listing import list_memories
from ..silicon.ecp5 import hard_multipliers, lane_multipliers
from .catalog import BLOCK_BYTES

__all__ = ["Needs", "needs", "memory_bytes_for"]

#: Shapes of a block: bits of a word and words.
_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
#: Memories with fewer words or bits go into LUTs.
_BLOCK_WORDS, _BLOCK_BITS = 64, 1024
#: Blocks beside the memories: the table of reciprocal square roots, and the buffer of the host link.
_OTHER_BLOCKS = 2
#: Memory for programs that a board has at least; less holds no model.
_LEAST_MEMORY = 16 * 1024
#: Most that is taken by itself. Longer paths to blocks all over the chip are for who asks for them.
_MOST_MEMORY = 256 * 1024


@dataclass(frozen=True)
class Needs:
    """What an accelerator with its host link takes: ``multipliers``, as many of them as a device has to have for it (``hard``; the
    rest can be made of LUTs), and ``blocks`` of RAM without its memory for programs."""
    multipliers: int
    hard: int
    blocks: int


def _blocks(memory):
    if memory.depth < _BLOCK_WORDS or memory.depth * memory.width < _BLOCK_BITS:
        return 0
    return min(ceil(memory.width / width) * ceil(memory.depth / depth) for width, depth in _SHAPES)


def needs(config):
    """The `Needs` of a configuration."""
    memories = list_memories(verilog.to_verilog(config), verilog.TOP)
    hard = hard_multipliers(config)
    return Needs(hard + sum(lane_multipliers(config).values()), hard,
                 sum(_blocks(memory) for _, memory in memories) + _OTHER_BLOCKS)


def memory_bytes_for(board, config, memory_kib=None):
    """Bytes of memory for programs: as asked for, or what is left on the board, up to 256 KiB.

    Raises ConfigError where the accelerator does not fit, naming what it needs and what there is.
    """
    need = needs(config)
    asked = memory_kib * 1024 if memory_kib is not None else _LEAST_MEMORY
    if asked <= 0 or asked % PAGE_BYTES:
        raise ConfigError(f"the board's memory must be a multiple of {PAGE_BYTES // 1024} KiB, not {memory_kib}")
    blocks = need.blocks + ceil(asked / BLOCK_BYTES)
    if need.hard > board.multipliers or blocks > board.blocks:
        raise ConfigError(
            f"configuration {config.name} does not fit {board.name} ({board.fpga}): it needs {need.hard} multipliers of "
            f"{board.multipliers} and {blocks} blocks of RAM of {board.blocks} ({need.blocks} for itself and "
            f"{blocks - need.blocks} for {asked // 1024} KiB of memory)")
    if memory_kib is not None:
        return asked
    return min(_MOST_MEMORY, (board.blocks - need.blocks) * BLOCK_BYTES // _LEAST_MEMORY * _LEAST_MEMORY)
