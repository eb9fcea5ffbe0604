"""The part of an exported model that the host evaluates: integer bookkeeping and mask arithmetic.

Every step is a small NumPy operation (`weft.quantize.hostops`), so that a saved program runs without torch. View
operations never become steps: a value is a flat array plus an index map (`weft.frontend.views`).
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from weft.hw.errors import CompileError

__all__ = ["HostGraph"]


@dataclass(eq=False)
class HostGraph:
    """Steps ``{"op", "args", "kwargs", "shape", "dtype"}`` in order; step i computes value i.

    An argument is a JSON value, ``{"value": i}`` for a step's result, ``{"array": i}`` for ``arrays[i]`` or
    ``{"float": "-inf"}`` for what JSON cannot hold. ``leaves`` and ``parameters`` describe the user's inputs as in
    `weft.quantize.host.HostProgram`.
    """

    steps: list = field(default_factory=list)
    arrays: list = field(default_factory=list)
    leaves: list = field(default_factory=list)
    parameters: list = field(default_factory=list)

    def add(self, op, args, kwargs, shape, dtype):
        """Append a step; returns the number of its value."""
        self.steps.append({"op": op, "args": [self.encode(a) for a in args],
                           "kwargs": {k: self.encode(v) for k, v in kwargs.items()},
                           "shape": [int(n) for n in shape], "dtype": str(dtype).removeprefix("torch.")})
        return len(self.steps) - 1

    def ref(self, value):
        """The argument that stands for value number ``value``."""
        return {"value": value}

    def array(self, array):
        """The argument that stands for a constant array."""
        self.arrays.append(np.ascontiguousarray(array))
        return {"array": len(self.arrays) - 1}

    def encode(self, argument):
        """Make one argument serializable."""
        if isinstance(argument, torch.Tensor):
            if argument.dtype == torch.bfloat16:
                argument = argument.float()
            return self.array(argument.numpy())
        if isinstance(argument, np.ndarray):
            return self.array(argument)
        if isinstance(argument, (list, tuple)):
            return [self.encode(a) for a in argument]
        if isinstance(argument, torch.dtype):
            return {"dtype": str(argument).removeprefix("torch.")}
        if isinstance(argument, float) and not np.isfinite(argument):
            return {"float": str(argument)}
        if argument is None or isinstance(argument, (bool, int, float, str, dict)):
            return argument
        raise CompileError(f"the host cannot store a step's argument of type {type(argument).__name__}")
