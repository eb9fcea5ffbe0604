"""Errors a user can meet, each raised with one sentence that names the thing, the value and the limit."""

__all__ = ["WeftError", "ConfigError", "CompileError", "ProgramError", "InputError", "RunError", "Mismatch", "WeftWarning"]


class WeftError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits with status 2."""


class ConfigError(WeftError, ValueError):
    """An accelerator configuration that cannot be built."""


class CompileError(WeftError):
    """A model that cannot be lowered: names the operator and the module path."""


class ProgramError(WeftError):
    """A program file that is missing, truncated, altered, or made for another configuration."""


class InputError(WeftError, ValueError):
    """Arguments of a run that do not fit the program: shape, dtype, range or length."""


class RunError(WeftError, RuntimeError):
    """The accelerator stopped with an error, or never finished: cause and instruction address."""


class Mismatch(WeftError, AssertionError):
    """Two executions of one program differ: names the first differing tensor, index and instruction."""


class WeftWarning(UserWarning):
    """Something that works, but not as the user seems to want it: one sentence, which the command line prints."""
