"""Decoders: from a causal graph to prefill and decode programs around one cache, and the sessions that run them."""

from weft.decoder.program import DecoderProgram
from weft.decoder.session import Session
from weft.decoder.steps import Steps

__all__ = ["DecoderProgram", "Session", "Steps"]
