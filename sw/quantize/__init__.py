"""Quantization: calibration on real batches, integer scales, and the quantized graph with its host program."""

from weft.quantize.options import LayerOptions, QuantOptions

__all__ = ["LayerOptions", "QuantOptions", "quantize"]


def __getattr__(name):
    # Running a saved program needs the host program and its NumPy steps, never torch.
    if name == "quantize":
        from weft.quantize.pipeline import quantize

        return quantize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
