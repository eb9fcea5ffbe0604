"""Calibration and integer scales."""
