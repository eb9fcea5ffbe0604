"""The accelerator's configuration: the parameters a user chooses, with everything derived from them (`derived.py`).

Every other part (hardware, compiler, golden model, documentation) reads these values and derives none itself.
"""

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .derived import DIVISION_CYCLES, SPARSITIES, DerivedSizes, power_of_two_at_least
from .errors import ConfigError
from .isa import CIRCULANT_BLOCKS, INSTRUCTIONS

__all__ = ["Config", "DIVISION_CYCLES", "NAMED", "SPARSITIES"]

#: Widths of addresses and counts in instructions.
_SCRATCHPAD_BITS = INSTRUCTIONS["LOAD"].fields["spm_addr"].width
_ACCUMULATOR_BITS = INSTRUCTIONS["SOFTMAX"].fields["acc_base"].width
_KEY_TILES = (1 << INSTRUCTIONS["SOFTMAX"].fields["tiles"].width) - 1


def _divisor_at_least(n, least):
    """The smallest divisor of ``n`` that is at least ``least``, or ``n`` itself."""
    return min((d for d in range(1, n) if n % d == 0 and d >= least), default=n)


@dataclass(frozen=True, kw_only=True)
class Config(DerivedSizes):
    """One accelerator. Sizes are in elements, KiB or bytes as the names say.

    Parameters left at ``None`` take the default that the property of the same meaning documents.

    Raises
    ------
    ConfigError
        If a value is out of range or does not fit the others; the sentence names both.
    """

    #: Height of the array: elements of K that one weight tile holds (4 to 64).
    rows: int
    #: Width of the array: output channels that one weight tile holds (4 to 64).
    cols: int
    #: On-chip scratchpad for activations, weights in flight and parameters.
    scratchpad_kib: int = None
    #: Accumulator memory, int32 words of ``cols`` lanes.
    accumulator_kib: int = None
    #: Bytes per AXI4 data beat (a power of two).
    data_bytes: int = None
    #: Elements that the vector engine requantizes per cycle; divides ``cols``. Default: `cols`, as fast as sums can come.
    vector_lanes: int = None
    #: Exponentials of softmax per cycle; divides ``vector_lanes``. Default: `softmax_lanes_needed`.
    softmax_lanes: int = None
    #: Products with an element per cycle before requantization (squares for a norm's statistics, a norm's elements times
    #: its features, products of two tensors); divides ``vector_lanes``. Default: `norm_lanes_needed`.
    norm_lanes: int = None
    #: Dividers of softmax, each a row in `DIVISION_CYCLES`; at most as many. Default: `division_units_needed`.
    division_units: int = None
    #: Independent scratchpad banks (a power of two); streams in different banks never wait for each other.
    scratchpad_banks: int = 8
    #: Independent accumulator banks (a power of two); a tile drains while another bank accumulates.
    accumulator_banks: int = 4
    #: Rows for which softmax and norm statistics are kept (a power of two).
    state_rows: int = None
    #: Largest number of keys in one block of the one-pass softmax; a multiple of ``panel``.
    key_block: int = None
    #: Token ids held for one embedding gather (a power of two).
    index_entries: int = 256
    #: Instructions queued in front of each engine.
    queue_depth: int = 4
    #: AXI4 bursts in flight, each direction.
    bursts_in_flight: int = 16
    #: Width of the AXI4 address.
    address_bits: int = 40
    #: Takes streamed weights of 4 bits with a 4-bit scale for each group of inputs (``w_format`` of MATMUL).
    four_bit: bool = False
    #: Sizes of the blocks of circulant weights that it takes (MATMUL_C): of 4, 8 and 16 those that divide ``rows`` and ``cols``.
    circulant: tuple = ()
    #: Takes streamed weights of which at most 2 ("2:4"), or also at most 1 ("1:4"), of 4 neighbours along K are not zero.
    sparsity: str = None

    def __post_init__(self):
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type is tuple:
                continue
            if f.type is bool:
                if not isinstance(value, bool):
                    raise ConfigError(f"{f.name} must be true or false, not {value!r}")
            elif f.type is str:
                if value is not None and (not isinstance(value, str) or value not in SPARSITIES):
                    raise ConfigError(f"{f.name} must be {' or '.join(SPARSITIES)}, not {value!r}")
            elif (value is not None or f.name in ("rows", "cols")) and (not isinstance(value, int) or isinstance(value, bool)):
                raise ConfigError(f"{f.name} must be a whole number, not {value!r}")
        for name in ("rows", "cols"):
            if not 4 <= getattr(self, name) <= 64:
                raise ConfigError(f"{name} must be from 4 to 64, not {getattr(self, name)}")
        self._check_circulant()
        defaults = {
            "scratchpad_kib": power_of_two_at_least(max(16, min(512, self.rows * self.cols))),
            "accumulator_kib": None,
            "data_bytes": max(4, power_of_two_at_least(self.cols)),
            "vector_lanes": self.cols,
            "state_rows": max(64, min(1024, power_of_two_at_least(16 * self.rows))),
            "key_block": 8 * self.panel,
        }
        for name, value in defaults.items():
            if getattr(self, name) is None and value is not None:
                object.__setattr__(self, name, value)
        if self.accumulator_kib is None:
            object.__setattr__(self, "accumulator_kib", self.scratchpad_kib // 2)
        if self.vector_lanes >= 1:
            for name in "softmax_lanes", "norm_lanes":
                if getattr(self, name) is None:
                    least = getattr(self, name + "_needed")
                    object.__setattr__(self, name, _divisor_at_least(self.vector_lanes, least))
            if self.division_units is None and self.softmax_lanes >= 1:
                object.__setattr__(self, "division_units", self.division_units_needed)
        self._check()

    def _check_circulant(self):
        blocks = self.circulant
        if not isinstance(blocks, (tuple, list)) or not all(type(b) is int and b in CIRCULANT_BLOCKS for b in blocks):
            raise ConfigError(f"circulant must be a list of block sizes among {', '.join(map(str, CIRCULANT_BLOCKS))}, "
                              f"not {blocks!r}")
        object.__setattr__(self, "circulant", tuple(sorted(set(blocks))))
        for block in self.circulant:
            for name in ("rows", "cols"):
                if getattr(self, name) % block:
                    raise ConfigError(f"circulant blocks of {block} do not divide {name} ({getattr(self, name)})")

    def _check(self):
        def power_of_two(name, low, high):
            value = getattr(self, name)
            if not low <= value <= high or value & (value - 1):
                raise ConfigError(f"{name} must be a power of two from {low} to {high}, not {value}")

        power_of_two("data_bytes", 4, self.line_bytes)
        power_of_two("scratchpad_banks", 1, 16)
        power_of_two("accumulator_banks", 2, 8)
        power_of_two("state_rows", 16, 1024)
        power_of_two("index_entries", 16, 1024)
        power_of_two("queue_depth", 2, 16)
        power_of_two("bursts_in_flight", 2, 64)
        power_of_two("scratchpad_kib", 8, 4096)
        power_of_two("accumulator_kib", 4, 2048)
        if not 32 <= self.address_bits <= 64:
            raise ConfigError(f"address_bits must be from 32 to 64, not {self.address_bits}")
        if self.vector_lanes < 1 or self.cols % self.vector_lanes:
            raise ConfigError(f"vector_lanes must divide cols ({self.cols}), not {self.vector_lanes}")
        for name in ("softmax_lanes", "norm_lanes"):
            if getattr(self, name) < 1 or self.vector_lanes % getattr(self, name):
                raise ConfigError(f"{name} must divide vector_lanes ({self.vector_lanes}), not {getattr(self, name)}")
        if not 1 <= self.division_units <= DIVISION_CYCLES:
            raise ConfigError(f"division_units must be from 1 to {DIVISION_CYCLES}, not {self.division_units}")
        limit = min(1024, _KEY_TILES * self.cols) // self.panel * self.panel
        if self.key_block % self.panel or not self.panel <= self.key_block <= limit:
            raise ConfigError(f"key_block must be a multiple of {self.panel} up to {limit}, not {self.key_block}")
        if self.sparsity and (self.rows % 2 or self.rows % self.cols):
            raise ConfigError(f"sparsity={self.sparsity} needs an even number of rows that is a multiple of cols, so that K tiles "
                              f"are whole panels, not rows={self.rows}, cols={self.cols}")
        if self.scratchpad_words > 1 << _SCRATCHPAD_BITS:
            raise ConfigError(f"scratchpad_kib={self.scratchpad_kib} is {self.scratchpad_words} words of "
                              f"{self.word_bytes} bytes, the instruction set addresses {1 << _SCRATCHPAD_BITS}")
        if self.scratchpad_words < 256:
            raise ConfigError(f"scratchpad_kib={self.scratchpad_kib} holds {self.scratchpad_words} words of "
                              f"{self.word_bytes} bytes, a {self.rows}x{self.cols} array needs 256")
        if self.accumulator_words > 1 << _ACCUMULATOR_BITS:
            raise ConfigError(f"accumulator_kib={self.accumulator_kib} is {self.accumulator_words} words of "
                              f"{self.accumulator_word_bytes} bytes, the instruction set addresses {1 << _ACCUMULATOR_BITS}")
        if self.accumulator_words < 2 * self.rows * self.tiles_per_panel:
            raise ConfigError(f"accumulator_kib={self.accumulator_kib} holds {self.accumulator_words} rows of one "
                              f"tile, two panels of {self.rows} rows need {2 * self.rows * self.tiles_per_panel}")

    # Where configurations come from and go to.

    @classmethod
    def named(cls, name):
        """One of the named configurations: tiny 4x4, small 8x8, base 16x16, large 32x32."""
        if name not in NAMED:
            raise ConfigError(f"no configuration is named {name!r}; there are {', '.join(NAMED)}")
        return cls(**NAMED[name])

    @classmethod
    def from_dict(cls, values, source="configuration"):
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(values, dict):
            raise ConfigError(f"{source} must be a table of parameters, not {type(values).__name__}")
        for name in values:
            if name not in names:
                raise ConfigError(f"{source}: no parameter is named {name!r}; there are {', '.join(sorted(names))}")
        for name in ("rows", "cols"):
            if name not in values:
                raise ConfigError(f"{source}: {name} is missing")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def load(cls, name_or_path):
        """A named configuration, or one from a JSON or TOML file."""
        if isinstance(name_or_path, cls):
            return name_or_path
        if name_or_path in NAMED:
            return cls.named(name_or_path)
        path = Path(name_or_path)
        if path.suffix not in (".json", ".toml"):
            raise ConfigError(f"no configuration is named {str(name_or_path)!r} (there are {', '.join(NAMED)}), "
                              "and it is not a .json or .toml file")
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"configuration file {path}: {error}") from None
        return cls.from_dict(values, source=f"configuration file {path}")

    def to_dict(self):
        """Parameters by name; of the options those that are on, so that a new option changes nothing for who is without."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, ()) and value is not False}

    @cached_property
    def name(self):
        """The name among the named configurations, or rows x cols; behind it the options that are on."""
        options = {name: value for name, value in self.to_dict().items() if value is True or isinstance(value, (tuple, str))}
        found = f"{self.rows}x{self.cols}"
        for name in NAMED:
            if Config.named(name).to_dict() | options == self.to_dict():
                found = name
        values = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in options.items()}
        return " ".join([found, *(name if value is True else f"{name}={value}" for name, value in values.items())])

    @cached_property
    def fingerprint(self):
        """32-bit identity of every parameter; the hardware reports it and a program is bound to it."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


#: Parameters of the named configurations.
NAMED = {
    "tiny": dict(rows=4, cols=4, scratchpad_kib=16, accumulator_kib=8),
    "small": dict(rows=8, cols=8, scratchpad_kib=64, accumulator_kib=32),
    "base": dict(rows=16, cols=16, scratchpad_kib=256, accumulator_kib=128),
    "large": dict(rows=32, cols=32, scratchpad_kib=512, accumulator_kib=256),
}
