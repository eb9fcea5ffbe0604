"""Quantization: calibration on real batches, integer scales, and the quantized graph with its host program."""

__all__ = ["QuantOptions", "quantize"]


def __getattr__(name):
    # Running a saved program needs the host program and its NumPy steps, never torch.
    if name in __all__:
        from weft.quantize import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
