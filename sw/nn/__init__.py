"""PyTorch layers and training helpers for compressed models; needs torch, which `weft` itself imports only when used."""

from weft.nn.block_circulant import BlockCirculantLinear
from weft.nn.conversion import expanded
from weft.nn.pruning import keep_zeros

__all__ = ["BlockCirculantLinear", "expanded", "keep_zeros"]
