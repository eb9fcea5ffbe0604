"""The boards that are known: what their FPGAs have, and where their description in amaranth-boards is."""

from dataclasses import dataclass
from importlib import import_module

from ..errors import ConfigError, InputError

__all__ = ["KnownBoard", "BOARDS", "BLOCK_BYTES", "find_board", "load_platform"]

#: Bytes of data in a block of RAM. All FPGAs here have blocks of 18 Kbit, of which the ninth bit of each byte is left unused.
BLOCK_BYTES = 2048


@dataclass(frozen=True)
class KnownBoard:
    """A board: ``platform`` in amaranth-boards as ``module:class``, keyword arguments of the class, ``multipliers`` of 18 x 18
    bits or more, ``blocks`` of RAM (18 Kbit), oscillator, and the tools that make the bitstream: "ecp5", the open ones, which
    `weft build` runs, or "vivado", for which it writes the project."""
    name: str
    platform: str
    fpga: str
    multipliers: int
    blocks: int
    oscillator_hz: int
    tools: str
    arguments: tuple = ()


#: Boards by name.
BOARDS = {board.name: board for board in (
    KnownBoard("ulx3s-45f", "ulx3s:ULX3S_45F_Platform", "LFE5U-45F", 72, 108, 25_000_000, "ecp5"),
    KnownBoard("ulx3s-85f", "ulx3s:ULX3S_85F_Platform", "LFE5U-85F", 156, 208, 25_000_000, "ecp5"),
    KnownBoard("ecpix-5-45f", "ecpix5:ECPIX545Platform", "LFE5UM-45F", 72, 108, 100_000_000, "ecp5"),
    KnownBoard("ecpix-5-85f", "ecpix5:ECPIX585Platform", "LFE5UM-85F", 156, 208, 100_000_000, "ecp5"),
    KnownBoard("arty-a7-35", "arty_a7:ArtyA7_35Platform", "XC7A35T", 90, 100, 100_000_000, "vivado",
          (("toolchain", "Vivado"),)),
    KnownBoard("arty-a7-100", "arty_a7:ArtyA7_100Platform", "XC7A100T", 240, 270, 100_000_000, "vivado",
          (("toolchain", "Vivado"),)),
)}


def find_board(name):
    """The board of that name; raises ConfigError."""
    if name not in BOARDS:
        raise ConfigError(f"no board is named {name!r}; there are {', '.join(BOARDS)}")
    return BOARDS[name]


def load_platform(board):
    """An instance of the board's Amaranth platform; raises InputError where amaranth-boards is not installed."""
    module, name = board.platform.split(":")
    try:
        found = import_module(f"amaranth_boards.{module}")
    except ModuleNotFoundError:
        raise InputError("amaranth-boards, which knows the pins of boards, is not installed; install it with: "
                         "pip install 'weft[build]'") from None
    return getattr(found, name)(**dict(board.arguments))
