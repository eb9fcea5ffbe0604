"""Where tensors are: in the scratchpad for their whole life, or in memory and brought in by strips."""

from dataclasses import dataclass

from weft.hw.isa import Element

from .builder import words_of
from .layout import Channels, round_up

__all__ = ["View", "Tensor", "ELEMENTS"]

ELEMENTS = {"int8": Element.INT8, "uint8": Element.UINT8, "int16": Element.INT16}
#: Largest stride between rows that vector instructions hold.
_ROW_STRIDE_LIMIT = (1 << 12) - 1


@dataclass(frozen=True)
class View:
    """Part of a tensor in the scratchpad; rows and panels are numbered as in the whole tensor.

    ``base``: word of (``row0``, ``panel0``); strides in words; ``panels``: how many from ``panel0`` on; ``temporary``: a
    copy that `weft.lower.context.Context.release` frees; ``tensor``: its name, empty where
    no element has its final value.
    """
    base: int
    row_stride: int
    panel_stride: int
    element: Element
    panels: int
    row0: int = 0
    panel0: int = 0
    temporary: bool = False
    tensor: str = ""

    def address(self, row, panel):
        """Word of (row, panel)."""
        return self.base + (row - self.row0) * self.row_stride + (panel - self.panel0) * self.panel_stride

    def words(self, row, rows, panel, panels):
        """All words of ``rows`` x ``panels`` from (row, panel) on."""
        line = 2 if self.element == Element.INT16 else 1
        dims = (panels, self.panel_stride), (rows, self.row_stride), (line, 1)
        # What all rows and panels share is one word.
        return words_of(self.address(row, panel), *(d for d in dims if d[1]))


@dataclass
class Tensor:
    """A tensor of the quantized graph with its layout and place.

    ``rows``: its own; ``stored_rows``: rounded up to the DMA granule. ``memory``: byte address of its words in memory
    or None; ``constant``: that address lies in the constants. ``resident``: first scratchpad word or None. ``by_rows``:
    int16 rows lie one after the other, as a gather writes them, instead of panel after panel, as a layer writes them.
    """
    name: str
    rows: int
    channels: Channels
    dtype: str
    config: object
    memory: int = None
    constant: bool = False
    resident: int = None
    by_rows: bool = True

    def __post_init__(self):
        self.element = ELEMENTS[self.dtype]
        self.panels = self.channels.panels
        self.line = 2 if self.dtype == "int16" else 1
        self.stored_rows = round_up(self.rows, self.config.dma_words)
        #: Whole rows, unless they are too long for the instructions' strides.
        self.row_major = self.by_rows and self.line == 2 and 2 * self.panels <= _ROW_STRIDE_LIMIT

    @property
    def words(self):
        """Words of the whole tensor."""
        return self.stored_rows * self.panels * self.line

    @property
    def row_bytes(self):
        """Bytes between the rows in memory."""
        return self.line * self.config.word_bytes * (self.panels if self.row_major else 1)

    def view(self, base, row0, row1, panel0, panel1, temporary=True):
        """View of rows ``row0..row1`` and panels ``panel0..panel1`` packed from word ``base`` on."""
        rows, panels = row1 - row0, panel1 - panel0
        row_stride, panel_stride = (2 * panels, 2) if self.row_major else (self.line, self.line * rows)
        return View(base, row_stride, panel_stride, self.element, panels, row0, panel0, temporary, self.name)

    def whole(self):
        """View of the resident tensor."""
        return self.view(self.resident, 0, self.stored_rows, 0, self.panels, temporary=False)

    def runs(self, row0, row1, panel0, panel1):
        """``(memory address, run words, count, memory stride, scratchpad stride)`` of the copy to or from a `view`."""
        word = self.config.word_bytes
        if self.row_major:
            pitch = 2 * self.panels * word
            run = 2 * (panel1 - panel0)
            return self.memory + row0 * pitch + 2 * panel0 * word, run, row1 - row0, pitch, run
        run = self.line * (row1 - row0)
        pitch = self.line * self.stored_rows * word
        return self.memory + panel0 * pitch + self.line * row0 * word, run, panel1 - panel0, pitch, run
