"""Tensor engine: weight-stationary array, accumulators, post-processing."""
