"""What lies where in the accelerator's memory: the contract between a program and whoever runs it.

All offsets are bytes from the base register (a multiple of 4096). The host copies ``constant`` to offset 0, clears the
state buffers, writes the input buffers, sets base and program address, and starts. Programs that work together (prefill
and decode) are images of one memory: the same constants and state buffers, each with its own code and other buffers.
"""

from dataclasses import dataclass, field

import numpy as np

from .config import Config
from .errors import InputError

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

    def source(self, number):
        """The layer that an instruction came from, in parentheses after a space, where it is known; else ""."""
        return f" ({self.sources[number]})" if number < len(self.sources) and self.sources[number] else ""

    def host_data(self, inputs):
        """``{buffer: uint8[bytes]}``, what a host writes before the start: ``inputs``, and zeros for states that these leave out.

        Raises InputError for inputs that are missing, too many or of another shape.
        """
        wanted = {b.name for b in self.buffers if b.kind == "input"}
        states = {b.name for b in self.buffers if b.kind == "state"}
        if wanted != set(inputs) - states:
            raise InputError(f"the program's inputs are {sorted(wanted)}, not {sorted(set(inputs) - states)}")
        data = {}
        for buffer in self.buffers:
            if buffer.kind in ("input", "state"):
                value = np.asarray(inputs.get(buffer.name, np.zeros(buffer.bytes, np.uint8)))
                if value.shape != (buffer.bytes,) or value.dtype != np.uint8:
                    raise InputError(f"input {buffer.name!r} must be uint8[{buffer.bytes}], not {value.dtype}{list(value.shape)}")
                data[buffer.name] = value
        return data

    def check_configuration(self, fingerprint, machine):
        """Raises InputError where ``machine`` (words for it) is of a configuration with another fingerprint."""
        if self.config.fingerprint != fingerprint:
            raise InputError(f"the program is for configuration {self.config.name} (0x{self.config.fingerprint:08x}), {machine} "
                             f"has one with fingerprint 0x{fingerprint:08x}")
