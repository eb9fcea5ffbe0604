"""The host's program: bind a user's arguments, evaluate masks and positions, quantize inputs, dequantize outputs.

Runs in NumPy alone from what a program file stores: a JSON description (`HostProgram.description`) and named
arrays (`HostProgram.arrays`).
"""

from dataclasses import dataclass, field

import numpy as np

from weft.hw.errors import InputError
from weft.quantize.hostops import OPERATIONS

__all__ = ["HostProgram", "as_array", "path_text"]

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


def path_text(path):
    """How a user would write an input's path: ``input_ids``, ``args[0]``, ``states['mask']``."""
    root, *rest = path
    text = f"args[{root}]" if isinstance(root, int) else str(root)
    return text + "".join(f"[{key!r}]" for key in rest)


def as_array(value):
    """A tensor, array or nested list as a NumPy array (torch is not imported)."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float16"):
            value = value.float()
        value = value.numpy()
    return np.asarray(value)


@dataclass
class HostProgram:
    """What the host does around the accelerator.

    ``leaves``: the user's inputs: ``{"path", "shape", "dtype", "value"}``, or ``{"path", "fixed"}`` for values that export has
    fixed (``opaque`` where the value cannot be stored and is not compared). ``steps``: see `weft.frontend.host.HostGraph`.
    ``bindings``: what each accelerator input tensor holds: ``{"tensor", "value", "kind", "rows", "features"}`` with ``limit``
    for ids, and ``scale``, ``zero`` and ``dtype`` for floats. ``outputs``: ``{"shape", "tensor" | "value" | "array", "scale",
    "zero", "index", "token_axes"}``. ``padding``: None, or ``{"length", "leaves": {leaf number: fill}}`` of inputs whose axis 1
    may be shorter and is then padded on the right.
    """

    leaves: list = field(default_factory=list)
    parameters: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    bindings: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    padding: dict | None = None
    arrays: dict = field(default_factory=dict)

    # -- serialization ----------------------------------------------------------------------------------------

    @property
    def description(self):
        """Everything but the arrays, as JSON values."""
        return {name: getattr(self, name) for name in
                ("leaves", "parameters", "steps", "bindings", "outputs", "padding")}

    @classmethod
    def from_description(cls, description, arrays):
        """The program that `description` and `arrays` were taken from."""
        return cls(**description, arrays=dict(arrays))

    # -- before the accelerator -------------------------------------------------------------------------------

    def bind(self, args=(), kwargs=None):
        """Arrays of the inputs in the order of ``leaves`` (None where fixed), by position or name.

        Raises `InputError` for a missing, unknown or wrongly shaped input.
        """
        given = dict(enumerate(args))
        for i, name in enumerate(self.parameters[:len(given)]):
            given[name] = given.pop(i)
        for name, value in (kwargs or {}).items():
            if name in given:
                raise InputError(f"input {name} is given twice, by position and by name")
            given[name] = value
        roots = {leaf["path"][0] for leaf in self.leaves}
        for name, value in given.items():
            if name not in roots and value is not None:
                raise InputError(f"input {path_text([name])} was not among the arguments the model was compiled with "
                                 f"({', '.join(path_text([r]) for r in sorted(roots, key=str))})")
        return [self._leaf(leaf, given) for leaf in self.leaves]

    def _leaf(self, leaf, given):
        value = given
        try:
            for key in leaf["path"]:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            if "fixed" in leaf:
                return None
            raise InputError(f"input {path_text(leaf['path'])} is missing") from None
        if "fixed" in leaf:
            same = leaf.get("opaque") or value is None or (not hasattr(value, "shape") and value == leaf["fixed"])
            if not same:
                given = f"of shape {list(value.shape)}" if hasattr(value, "shape") else repr(value)
                raise InputError(f"input {path_text(leaf['path'])} is {given}, but the program was compiled for "
                                 f"{leaf['fixed']!r}")
            return None
        if value is None:
            raise InputError(f"input {path_text(leaf['path'])} is missing")
        array, name = as_array(value), path_text(leaf["path"])
        wanted = np.dtype(leaf["dtype"]) if leaf["dtype"] != "bfloat16" else np.dtype("float32")
        kinds = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
        if array.dtype.kind not in kinds[wanted.kind] and not (wanted.kind in "iu" and array.dtype.kind == "b"):
            raise InputError(f"input {name} has dtype {array.dtype}, the program takes {leaf['dtype']}")
        if array.dtype.kind == "f" and (np.isnan(array) | np.isposinf(array)).any():  # a mask may hold minus infinity
            raise InputError(f"input {name} holds NaN or infinite values")
        return array.astype(wanted)

    def padded(self, bound):
        """The inputs at the compiled length, and the length they had (None: the compiled one)."""
        length = None
        for i, leaf in enumerate(self.leaves):
            if bound[i] is None:
                continue
            shape, wanted = bound[i].shape, tuple(leaf["shape"])
            if shape == wanted and length is None:
                continue
            fill = None if self.padding is None else self.padding["leaves"].get(str(i))
            fits = fill is not None and len(shape) == 2 and shape[0] == wanted[0] and 0 < shape[1] <= wanted[1]
            if not fits or length not in (None, shape[1]):
                longer = fill is not None and len(shape) == 2 and shape[1] > wanted[1]
                limit = f"at most {wanted[1]} tokens" if longer else f"shape {list(wanted)}"
                raise InputError(f"input {path_text(leaf['path'])} has shape {list(shape)}, the program was compiled "
                                 f"for {limit}")
            length = shape[1]
        if length is None:
            return bound, None
        padded = list(bound)
        for key, fill in self.padding["leaves"].items():
            i = int(key)
            if bound[i].shape[1] != length:
                raise InputError(f"input {path_text(self.leaves[i]['path'])} has {bound[i].shape[1]} tokens where "
                                 f"another has {length}")
            missing = self.padding["length"] - length
            padded[i] = np.pad(bound[i], ((0, 0), (0, missing)), constant_values=fill)
        return padded, length

    def values(self, bound):
        """Results of the steps for bound inputs at their compiled shapes."""
        results = []
        for step in self.steps:
            if step["op"] == "input":
                results.append(bound[step["args"][0]])
                continue
            args = [self._argument(a, results) for a in step["args"]]
            kwargs = {k: self._argument(v, results) for k, v in step["kwargs"].items()}
            dtype = "float32" if step["dtype"] == "bfloat16" else step["dtype"]
            try:
                with np.errstate(all="ignore"):
                    result = np.asarray(OPERATIONS[step["op"]](*args, **kwargs)).astype(dtype)
            except (ValueError, IndexError) as error:
                raise InputError(str(error)) from None
            results.append(np.broadcast_to(result, step["shape"]))
        return results

    def _argument(self, argument, results):
        if isinstance(argument, list):
            return [self._argument(a, results) for a in argument]
        if not isinstance(argument, dict):
            return argument
        if "value" in argument:
            return results[argument["value"]]
        if "array" in argument:
            return self.arrays[f"array{argument['array']}"]
        if "float" in argument:
            return float(argument["float"])
        return np.dtype(argument["dtype"])

    def prepare(self, args=(), kwargs=None):
        """Accelerator input tensors by name, and a state that `finish` needs.

        Token ids are int32, masks bool, floats quantized. Raises `InputError`.
        """
        bound, length = self.padded(self.bind(args, kwargs))
        values = self.values(bound)
        tensors = {}
        for binding in self.bindings:
            array = values[binding["value"]].reshape(binding["rows"], binding["features"])
            if binding["kind"] == "ids":
                bad = (array < 0) | (array >= binding["limit"])
                if bad.any():
                    raise InputError(f"token id {int(array[bad][0])} is out of range: the model has "
                                     f"{binding['limit']} entries (0 to {binding['limit'] - 1})")
                tensors[binding["tensor"]] = array.astype(np.int32)
            elif binding["kind"] == "mask":
                tensors[binding["tensor"]] = array.astype(bool)
            else:
                low, high = _RANGES[binding["dtype"]]
                if not np.isfinite(array).all():
                    raise InputError("a floating-point input holds NaN or infinite values")
                scaled = np.floor(array.astype(np.float64) / np.asarray(binding["scale"]) + 0.5) + binding["zero"]
                tensors[binding["tensor"]] = np.clip(scaled, low, high).astype(binding["dtype"])
        return tensors, {"length": length, "values": values}

    # -- after the accelerator --------------------------------------------------------------------------------

    def finish(self, tensors, state):
        """The model's results as float32 arrays from the accelerator's integer output tensors by name."""
        results = []
        for output in self.outputs:
            shape = output["shape"]
            if "value" in output:
                array = state["values"][output["value"]].reshape(shape)
            elif "array" in output:
                array = self.arrays[output["array"]].reshape(shape)
            else:
                q = np.asarray(tensors[output["tensor"]], np.int64)
                real = (q - output["zero"]) * self.arrays[output["scale"]]
                flat = real.reshape(-1)
                array = (flat if output["index"] is None else flat[self.arrays[output["index"]].reshape(-1)]).reshape(shape)
            if state["length"] is not None:
                for axis in output["token_axes"]:
                    array = np.take(array, range(state["length"]), axis=axis)
            results.append(np.array(array, np.float32))
        return results
