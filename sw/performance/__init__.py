"""How many cycles a program takes, without RTL: every engine's instructions in order, tokens, queues and the bus."""

from .model import Prediction, predict, predict_instructions

__all__ = ["Prediction", "predict", "predict_instructions"]
