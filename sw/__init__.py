"""Weft: transformer accelerators generated, programmed, simulated and verified from Python.

Importing the package costs nothing: each public name is loaded from its module when it is first used,
so that `weft generate` never imports torch, and `import weft` neither NumPy nor Amaranth.
"""

from importlib import import_module

__all__ = [
    "Config", "compile", "compile_decoder", "load", "accuracy_report", "circulant", "distill", "sparsify",
    "Program", "Result", "DecoderProgram", "Session", "Board", "AccuracyReport",
    "WeftError", "WeftWarning", "ConfigError", "CompileError", "ProgramError", "InputError", "RunError", "Mismatch",
    "__version__",
]

# Kept equal to pyproject.toml by a test; reading the distribution's metadata would cost 20 ms at each import.
__version__ = "0.1.0"

_HOMES = {
    "Config": "weft.hw.config",
    "compile": "weft.api",
    "compile_decoder": "weft.api",
    "load": "weft.api",
    "accuracy_report": "weft.fidelity",
    "AccuracyReport": "weft.fidelity",
    "circulant": "weft.nn.conversion",
    "distill": "weft.nn.distillation",
    "sparsify": "weft.nn.pruning",
    "Program": "weft.program",
    "Result": "weft.program",
    "DecoderProgram": "weft.decoder",
    "Session": "weft.decoder",
    "Board": "weft.board",
    "WeftError": "weft.hw.errors",
    "ConfigError": "weft.hw.errors",
    "CompileError": "weft.hw.errors",
    "ProgramError": "weft.hw.errors",
    "InputError": "weft.hw.errors",
    "RunError": "weft.hw.errors",
    "Mismatch": "weft.hw.errors",
    "WeftWarning": "weft.hw.errors",
}


def __getattr__(name):
    """Load a public name from the module that defines it (PEP 562)."""
    if name == "nn":  # a package, so no public name of this one, but `weft.nn.BlockCirculantLinear` reads best
        return import_module("weft.nn")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__():
    """The public names, loaded or not."""
    return sorted(set(__all__) | set(globals()))
