"""What an instruction is: its fields, where they lie in the word, and which values are illegal."""

from dataclasses import dataclass
from functools import cached_property

from .codes import INSTRUCTION_BITS, OPCODE_BITS, SPARSE_PANELS, Engine, WeightFormat

__all__ = ["Field", "Instruction"]


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
        offsets, position = {}, OPCODE_BITS
        for f in self.field_list:
            offsets[f.name] = position
            position += f.width
        return offsets

    @cached_property
    def width(self):
        return OPCODE_BITS + sum(f.width for f in self.field_list)

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
        runs, stop = [], OPCODE_BITS
        for f in self.field_list:
            if not f.option or getattr(config, f.option):
                if self.offsets[f.name] > stop:
                    runs.append((stop, self.offsets[f.name]))
                stop = self.offsets[f.name] + f.width
        return runs + [(stop, INSTRUCTION_BITS)] * (stop < INSTRUCTION_BITS)

    @cached_property
    def has_k_offset(self):
        """Whether its K tiles may begin within a panel: ``k_offset`` is less than the panel's K tiles."""
        return "k_offset" in self.fields

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
        if self.has_k_offset and values["k_offset"] >= config.k_tiles_per_panel:
            return f"k_offset is {values['k_offset']}, a panel has {config.k_tiles_per_panel} K tiles"
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
