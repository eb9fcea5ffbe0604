"""The configuration of a bench: a named one gets the option that the bench's weights need."""

from dataclasses import replace

from weft.hw.config import NAMED
from weft.hw.errors import InputError
from weft.lower.layout import Channels
from weft.lower.weights import four_bit_fits
from weft.workloads import weights_kind

__all__ = ["with_choices", "with_weights"]


def with_weights(config, weights, **sizes):
    """The configuration with the option for ``weights`` (as in `weft.workloads.gemm`) of a matrix of ``sizes`` (k inputs, n
    outputs), if it is a named one.

    Raises InputError where the configuration does not take them.
    """
    kind, number = weights_kind(weights)
    if kind == "sparse" and config.sparsity not in (weights, "1:4"):
        config = _with(config, weights, sparsity=weights)
    if kind == "circulant":
        for name, size in {**sizes, "rows": config.rows, "cols": config.cols}.items():
            if size % number:
                raise InputError(f"{weights} weights: blocks of {number} do not divide {name} ({size})")
        if number not in config.circulant:
            config = _with(config, weights, circulant=(number,))
    if kind == "four_bit":
        if not config.four_bit:
            config = _with(config, weights, four_bit=True)
        if "k" in sizes and not four_bit_fits(config, number, Channels(sizes["k"], sizes["k"], config.panel)):
            raise InputError(f"{weights} weights: half of a tile of {config.rows} rows has inputs of two groups of {number}")
    return config


def _with(config, weights, **option):
    """A named configuration with an option that it is without."""
    if config.name not in NAMED:
        (name, value), = option.items()
        words = name if value is True else f"{name}={value if isinstance(value, str) else list(value)}"
        raise InputError(f"{weights} weights need a configuration with {words}, {config.name} is without")
    return replace(config, **option)


def with_choices(config, quantization):
    """The configuration, with the option for 4-bit weights if it is a named one and ``quantization`` (as in `weft.compile`) may choose
    them. The other formats need weights that have their structure, which `with_weights` is for."""
    from weft.quantize import QuantOptions

    if config.name in NAMED and QuantOptions.of(quantization).four_bit:
        return replace(config, four_bit=True)
    return config
