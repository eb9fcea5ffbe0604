"""Random programs: legal by construction, run on the golden model and on the RTL, shrunk where they differ."""

from .generator import random_image, random_program

__all__ = ["random_image", "random_program"]
