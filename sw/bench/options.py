"""The configuration of a bench: a named one gets the options that the bench's weights need."""

from dataclasses import replace

from weft.hw.config import NAMED
from weft.hw.errors import InputError
from weft.lower.layout import Channels
from weft.lower.weights import four_bit_fits
from weft.workloads import weights_kind

__all__ = ["with_choices", "with_weights"]


def with_weights(config, *formats, **sizes):
    """The configuration with the options for weights in ``formats`` (as in `weft.workloads.gemm`), if it is a named one;
    ``sizes`` of the matrix (k inputs, n outputs) where they are known.

    Raises InputError where the configuration does not take them.
    """
    options = {}
    for weights in formats:
        lacks = _lacks(replace(config, **options), weights, sizes)
        if lacks and config.name not in NAMED:
            (name, value), = lacks.items()
            words = name if value is True else f"{name}={value if isinstance(value, str) else list(value)}"
            raise InputError(f"{weights} weights need a configuration with {words}, {config.name} is without")
        options |= lacks
    config = replace(config, **options)
    for weights in formats:
        kind, group = weights_kind(weights)
        if kind == "four_bit" and "k" in sizes and not four_bit_fits(config, group, Channels(sizes["k"], sizes["k"], config.panel)):
            raise InputError(f"{weights} weights: half of a tile of {config.rows} rows has inputs of two groups of {group}")
    return config


def _lacks(config, weights, sizes):
    """``{option: value}`` that a configuration needs for weights and is without."""
    kind, number = weights_kind(weights)
    if kind == "sparse" and config.sparsity not in (weights, "1:4"):
        return {"sparsity": weights}
    if kind == "circulant":
        for name, size in {**sizes, "rows": config.rows, "cols": config.cols}.items():
            if size % number:
                raise InputError(f"{weights} weights: blocks of {number} do not divide {name} ({size})")
        if number not in config.circulant:
            return {"circulant": (*config.circulant, number)}
    if kind == "four_bit" and not config.four_bit:
        return {"four_bit": True}
    return {}


def with_choices(config, quantization, *formats):
    """`with_weights` of the formats that ``quantization`` (as in `weft.compile`) chooses, and of others."""
    from weft.quantize import QuantOptions

    return with_weights(config, *formats, *QuantOptions.of(quantization).formats)
