"""What random programs compute with: tensors, accumulators and other words that hold something."""

from dataclasses import dataclass, field

import numpy as np

from weft.hw.isa import Element

from .program import Node

__all__ = ["Operand", "Results", "Words"]


@dataclass(eq=False)
class Words:
    """Scratchpad words: ``node`` wrote them (in ``loads`` outer iterations)."""
    base: int
    words: np.ndarray
    node: Node = None
    loads: int = 1
    alive: bool = True


@dataclass(eq=False)
class Operand(Words):
    """A tensor in the scratchpad, fully written.

    ``by_panel``: its node can send a token for each panel. ``readers``: nodes that can send one for each panel that
    they have read, with the class of completion; also those of an operand that lay at the same place before.
    """
    kind: Element = Element.INT8
    rows: int = 0
    panels: int = 0
    row_stride: int = 0
    panel_stride: int = 0
    by_panel: bool = False
    readers: list = field(default_factory=list)

    @property
    def element_words(self):
        return 2 if self.kind == Element.INT16 else 1

    def words_of(self, rows, panels):
        """Words of the first rows of the first panels."""
        return (self.base + (np.arange(rows) * self.row_stride)[:, None, None]
                + (np.arange(panels) * self.panel_stride)[:, None] + np.arange(self.element_words)).reshape(-1)


@dataclass(eq=False)
class Results:
    """Accumulator words of N tiles. ``writer``, ``reader``: the last nodes that can send a token for each tile;
    ``depth``: products added since they were last overwritten."""
    base: int
    stride: int
    tiles: int
    rows: int
    writer: Node = None
    reader: Node = None
    depth: int = 0
    alive: bool = True

    @property
    def words(self):
        return (self.base + (np.arange(self.tiles) * self.stride)[:, None] + np.arange(self.rows)).reshape(-1)
