"""What a user may choose about quantization, for a whole model or layer by layer; the defaults are what measured best."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path

from weft.hw.errors import CompileError, InputError
from weft.hw.isa import CIRCULANT_BLOCKS
from weft.weights import GROUPS, SPARSITIES

__all__ = ["CALIBRATIONS", "LayerOptions", "QuantOptions", "WEIGHT_FORMATS", "read_options"]

#: How the range of an 8-bit tensor follows from what calibration saw of it.
CALIBRATIONS = ("minmax", "percentile", "mse")

#: Names of weight formats. "w8": int8, one scale for each output channel, stored as zeros and circulant blocks allow. "2:4", "1:4",
#: "circulant:N": the same, and the weights must have that structure. "w4gN": 4 bits, and 4 bits more for each group of N
#: inputs, 16 to 128.
WEIGHT_FORMATS = ("w8", *SPARSITIES, *(f"circulant:{block}" for block in CIRCULANT_BLOCKS),
                  *(f"w4g{group}" for group in GROUPS))
_FORMATS_IN_WORDS = (", ".join(f"'{name}'" for name in WEIGHT_FORMATS if not name.startswith("w4g"))
                     + f" or 'w4gN' with groups of N = {GROUPS[0]} to {GROUPS[-1]} inputs")


def _is_number(value, least, most):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and least <= value <= most


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Choices for a linear layer and its 8-bit input, or for an attention and its 8-bit operands.

    ``weights``: a name in `WEIGHT_FORMATS`. ``calibration``: range of the 8-bit input, one of `CALIBRATIONS`: the
    extremes ("minmax"), the ``percentile`` of the magnitudes, or the share in ``clips`` of the extremes that leaves the
    least mean-square error of the layer's outputs ("mse"). ``migration``: exponent with which outlier features move into
    the weights, 0 for not at all, or "search" for the one of none and ``strengths`` with the least error of the outputs.
    ``correct_bias``: take the layer's mean error out of its bias.

    Behind an elementwise function, ``calibration`` is of the input of the function's table instead, and "mse" clips only
    where the function is flat. The choices of an attention hold for its result too, in place of the next layer's. An
    input form that the model prescribes stays.

    Raises CompileError naming a value that is out of range.
    """

    weights: str = "w8"
    calibration: str = "mse"
    percentile: float = 99.99
    migration: float | str = "search"
    strengths: tuple = (0.25, 0.4, 0.5, 0.6, 0.75)
    clips: tuple = (1.0, 0.9, 0.8, 0.7, 0.6)
    correct_bias: bool = True

    def __post_init__(self):
        if self.weights not in WEIGHT_FORMATS:
            self._refuse("weights", _FORMATS_IN_WORDS)
        if self.calibration not in CALIBRATIONS:
            self._refuse("calibration", " or ".join(map(repr, CALIBRATIONS)))
        if not _is_number(self.percentile, 50, 100):
            self._refuse("percentile", "a number from 50 to 100")
        if self.migration != "search" and not _is_number(self.migration, 0, 1):
            self._refuse("migration", "'search' or a number from 0 to 1")
        for name, least in (("strengths", 0), ("clips", 1)):
            values = getattr(self, name)
            if not isinstance(values, (tuple, list)) or len(values) < least \
                    or not all(_is_number(v, 0.01, 1) for v in values):
                self._refuse(name, "numbers from 0.01 to 1")
            object.__setattr__(self, name, tuple(values))
        if not isinstance(self.correct_bias, bool):
            self._refuse("correct_bias", "true or false")

    def _refuse(self, name, wanted):
        raise CompileError(f"quantization: {name} must be {wanted}, not {getattr(self, name)!r}")

    @property
    def of_input(self):
        """What layers that read the same tensor must agree on."""
        return self.calibration, self.percentile, self.migration, self.strengths, self.clips

    def changed(self, choices):
        """These options with some fields changed: a mapping of fields, or the name of a weight format."""
        if isinstance(choices, str):
            choices = {"weights": choices}
        if not isinstance(choices, Mapping):
            raise CompileError(f"quantization: choices must be a mapping of fields or the name of a weight format, not "
                               f"{choices!r}")
        known = [f.name for f in fields(LayerOptions)]
        for name in choices:
            if name not in known:
                raise CompileError(f"quantization: there is no choice {name!r}; there are {', '.join(known)}")
        return replace(self, **choices)


@dataclass(frozen=True, kw_only=True)
class QuantOptions(LayerOptions):
    """Choices for a model: those of `LayerOptions` for every layer, and besides

    ``headroom``: range of int16 tensors as a multiple of what calibration saw. ``samples``: rows kept of each tensor for
    the searches. ``layers``: choices for some layers, by pattern. A pattern is a module path with the wildcards of
    `fnmatch`; it stands for the modules it matches and all inside them. Its value is a mapping with fields of
    `LayerOptions`, or the name of a weight format. Where several patterns match, later ones override earlier ones.
    """

    headroom: float = 2.0
    samples: int = 1024
    layers: Mapping = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        if not _is_number(self.headroom, 1, 1000):
            self._refuse("headroom", "a number from 1 to 1000")
        if not _is_number(self.samples, 1, 2**24) or self.samples != int(self.samples):
            self._refuse("samples", "a whole number of at least 1")
        if not isinstance(self.layers, Mapping):
            raise CompileError("quantization: layers must be a mapping from module path patterns to choices, not "
                               f"{self.layers!r}")
        for pattern in self.layers:
            self._with(self._defaults, pattern)

    @classmethod
    def of(cls, value):
        """Options for ``quantization`` as `weft.compile` takes it.

        None: the defaults; a string: a weight format for every layer; a mapping: `layers`; or `QuantOptions`. Raises
        CompileError naming a field or value that is unknown.
        """
        match value:
            case None:
                return cls()
            case QuantOptions():
                return value
            case str():
                return cls(weights=value)
            case Mapping():
                return cls(layers=value)
        raise CompileError("quantization must be a mapping from module path patterns to choices, the name of a weight "
                           f"format, or weft.quantize.QuantOptions, not {type(value).__name__}")

    @property
    def formats(self):
        """Names of the weight formats but "w8" that layers may get, each once."""
        chosen = [self.weights, *(choices if isinstance(choices, str) else choices.get("weights", "w8")
                                  for choices in self.layers.values())]
        return tuple(name for name in dict.fromkeys(chosen) if name != "w8")

    @property
    def _defaults(self):
        return LayerOptions(**{f.name: getattr(self, f.name) for f in fields(LayerOptions)})

    def _with(self, options, pattern):
        try:
            return options.changed(self.layers[pattern])
        except CompileError as error:
            raise CompileError(f"{error}, for {pattern!r}") from None

    def of_modules(self, paths):
        """`LayerOptions` by path for the modules of a model's linear layers and attentions.

        Raises CompileError for a pattern that matches none of them.
        """
        paths = list(dict.fromkeys(paths))
        chosen = dict.fromkeys(paths, self._defaults)
        for pattern in self.layers:
            matched = [path for path in paths if _matches(path, pattern)]
            if not matched:
                some = ", ".join(path or "''" for path in paths[:4]) + (", ..." if len(paths) > 4 else "")
                raise CompileError(f"quantization: pattern {pattern!r} matches no module with a linear layer or attention; "
                                   f"such modules are {some}")
            chosen |= {path: self._with(chosen[path], pattern) for path in matched}
        return chosen

    def names(self, path):
        """Whether the weight format of the module at ``path`` was chosen for this very path."""
        choosing = [pattern for pattern, choices in self.layers.items()
                    if _matches(path, pattern) and (isinstance(choices, str) or "weights" in choices)]
        return bool(choosing) and choosing[-1] == path


def _matches(path, pattern):
    """Whether ``pattern`` matches a module's path, or that of a module around it."""
    parts = path.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def _value(text):
    """A value on the command line: true, false, a number, several of them with / between, or a word."""
    if "/" in text:
        return tuple(_value(part) for part in text.split("/"))
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


#: Weight formats with a colon, known or not.
_FORMAT = re.compile(r"(\d+|circulant):\d+")


def _assignment(text):
    """``(pattern, choices)`` of ``PATTERN=FORMAT`` or ``PATTERN=NAME:VALUE,NAME:VALUE``."""
    pattern, equals, choices = text.rpartition("=")
    if not equals or not pattern or not choices:
        raise InputError(f"--quantize takes PATTERN=CHOICES or a TOML file, not {text!r}")
    if ":" not in choices or _FORMAT.fullmatch(choices):
        return pattern, choices
    named = {}
    for choice in choices.split(","):
        name, colon, value = choice.partition(":")
        if not colon:
            raise InputError(f"--quantize {text}: {choice!r} is not of the form NAME:VALUE")
        named[name.strip()] = _value(value.strip())
    return pattern, named


def _from_file(path):
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"quantization file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"quantization file {path} is not valid TOML: {error}") from None
    known = [f.name for f in fields(QuantOptions)]
    for name in values:
        if name not in known:
            raise CompileError(f"quantization file {path}: there is no choice {name!r}; there are {', '.join(known)}")
    return values


def read_options(texts):
    """`QuantOptions` of the command line's ``--quantize`` values, of which later ones override earlier ones.

    Each is ``PATTERN=CHOICES`` or the path of a TOML file with fields of `QuantOptions`, its patterns in a table
    ``layers``. Raises InputError or CompileError for what is neither.
    """
    values, layers = {}, {}
    for text in texts:
        if text.endswith(".toml"):
            read = _from_file(Path(text))
            more = read.pop("layers", {})
            values |= read
        else:
            more = dict([_assignment(text)])
        if not isinstance(more, Mapping):
            raise CompileError(f"quantization file {text}: layers must be a table")
        for pattern in more:
            layers.pop(pattern, None)           # the last mention decides the order
        layers |= more
    return QuantOptions(**values, layers=layers)
