"""What lies where in the accelerator's memory: the contract between a program and whoever runs it.

All offsets are bytes from the base register (a multiple of 4096). The host copies ``constant`` to offset 0, clears the
state buffers, writes the input buffers, sets base and program address, and starts. Programs that work together (prefill
and decode) are images of one memory: the same constants and state buffers, each with its own code and other buffers.
"""

from dataclasses import dataclass, field

import numpy as np

from .config import Config

__all__ = ["Buffer", "Image"]


@dataclass(frozen=True)
class Buffer:
    """A named range of memory. ``kind``: "constant", "input" (the host writes it before the start), "output" (the
    host reads it after done), "work", or "state" (all zero before the first run, then as the last run left it). Between
    buffers lie at least 64 guard bytes that nobody touches."""
    name: str
    offset: int
    bytes: int
    kind: str


@dataclass
class Image:
    """A program ready to run.

    ``constant``: uint8[n], code, weights and parameters, at offset 0; ``memory_bytes``: size of the whole range;
    ``code_offset``: first instruction, a multiple of 128; ``instructions``: how many; ``sources``: for each instruction the
    name of the layer it came from (may be empty); ``registers``: scalar registers set before the start.
    """
    config: Config
    constant: np.ndarray
    memory_bytes: int
    code_offset: int
    instructions: int
    buffers: list
    sources: list = field(default_factory=list)
    registers: dict = field(default_factory=dict)

    def buffer(self, name):
        """The buffer of that name; KeyError if there is none."""
        for buffer in self.buffers:
            if buffer.name == name:
                return buffer
        raise KeyError(name)

    @property
    def code(self):
        """The instructions, uint8[32 * instructions]."""
        return self.constant[self.code_offset:self.code_offset + 32 * self.instructions]
