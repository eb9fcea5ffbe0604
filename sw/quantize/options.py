"""What a user may choose about quantization; the defaults are what measured best."""

from dataclasses import dataclass

__all__ = ["QuantOptions"]


@dataclass(frozen=True, kw_only=True)
class QuantOptions:
    """Choices of `weft.quantize.quantize`.

    ``headroom``: range of int16 tensors as a multiple of what calibration saw. ``strengths``: exponents tried for
    migrating outlier channels into the next weights (none is always tried). ``clips``: fractions of the calibrated
    range tried for int8 activations. ``samples``: rows kept of each tensor for the searches.
    ``correct_bias``: take the mean error of each linear layer out of its bias.
    """

    headroom: float = 2.0
    strengths: tuple = (0.25, 0.4, 0.5, 0.6, 0.75)
    clips: tuple = (1.0, 0.9, 0.8, 0.7, 0.6)
    samples: int = 1024
    correct_bias: bool = True
