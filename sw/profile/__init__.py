"""Where the cycles of a program go: a trace for Perfetto and a report, from a recorded run on the RTL."""

from .collect import LayerFigures, Profile
from .runs import machine, profile_decoder, profile_program, random_inputs, random_prompt
from .write import write_profile

__all__ = ["LayerFigures", "Profile", "machine", "profile_decoder", "profile_program", "random_inputs", "random_prompt",
           "write_profile"]
