"""Everything the lowering of one operation needs: instructions, memory, scratchpad and what was loaded already."""

import numpy as np

from weft.hw.errors import CompileError
from weft.hw.isa import Element

from .builder import Builder
from .layout import ceil_div, constant_channels, pack_records, pack_table, round_up
from .memory import Allocator, BankedAllocator, Ring
from .tensors import View
from .tuning import Tuning
from .weights import streamed_weights
from .zero_tiles import without_zero_tiles

__all__ = ["Context", "OutOfScratchpad", "Regions"]


class OutOfScratchpad(Exception):
    """A resident tensor or a strip found no room; the planner spills and tries again."""


class Regions:
    """How the scratchpad is divided: activations, parameters and tables, weights in flight.

    Weights lie in banks of their own as far as sizes allow, so that the loader never waits for the vector engine.
    """

    def __init__(self, config, share=3 / 8):
        c = config
        words, line = c.scratchpad_words, max(2, c.dma_words)
        tile = max(c.weight_tile_words, c.sparse_tile_words if c.sparsity else 0)
        #: Smallest piece of weights: one panel of inputs times one panel of outputs.
        self.smallest_chunk = round_up(tile * c.k_tiles_per_panel * c.tiles_per_panel, line)
        panel_records = c.param_tile_words * c.tiles_per_panel
        weights = round_up(max(int(words * share), min(words // 2, 2 * self.smallest_chunk)), line)
        least = panel_records + 3 * c.param_tile_words + round_up(ceil_div(256, c.word_bytes), line)
        params = round_up(max(words // 16, least), line)
        self.heap = (0, words - weights - params)
        self.params = (self.heap[1], self.heap[1] + params)
        self.weights = (self.params[1], words)
        if self.heap[1] < words // 4:
            raise CompileError(f"a scratchpad of {c.scratchpad_kib} KiB leaves no room for activations beside "
                               f"{weights + params} words of weights and parameters")


class Context:
    """State of one lowering. ``tensors``: name to `weft.lower.tensors.Tensor`; ``regions``: `Regions`; ``offsets``:
    None, or the `weft.lower.positions.Offsets` of a program that runs at a position; ``striped``: names of the
    tensors that are written or read strip by strip of rows; ``edges``: names of those that the host writes or reads;
    ``tuning``: `weft.lower.tuning.Tuning`."""

    def __init__(self, config, tensors, regions, memory, packed, offsets=None, striped=(), edges=(), tuning=Tuning()):
        self.config = config
        self.offsets = offsets
        self.striped, self.edges, self.tuning = frozenset(striped), frozenset(edges), tuning
        self.tensors = tensors
        self.builder = Builder(config)
        self.memory = memory
        self.heap = Allocator(*regions.heap)
        line = max(2, config.dma_words)
        self.weight_ring = Ring(*regions.weights, line)
        self.param_ring = Ring(*regions.params, line)
        self.smallest_chunk = regions.smallest_chunk
        self.accumulators = BankedAllocator(config.accumulator_words, config.accumulator_banks)
        self.states = Allocator(0, config.state_rows)
        self.granule = config.dma_words
        self._packed = packed
        self._tables = [None, None]
        self._next_table = 0

    # Strips of tensors.

    def temporary(self, tensor, row0, row1, panel0, panel1, alloc=None):
        """A view in fresh scratchpad words, from the heap or from ``alloc`` (words); `OutOfScratchpad` if there are none."""
        words = (row1 - row0) * (panel1 - panel0) * tensor.line
        base = (alloc or self.heap.alloc)(words)
        if base is None:
            raise OutOfScratchpad(tensor.name)
        return tensor.view(base, row0, row1, panel0, panel1)

    def open(self, tensor, row0, row1, panel0=0, panel1=None, alloc=None):
        """The resident tensor, or an empty `temporary` for these rows and panels."""
        if tensor.resident is not None:
            return tensor.whole()
        return self.temporary(tensor, row0, row1, panel0, tensor.panels if panel1 is None else panel1, alloc)

    def outside(self, first, stop):
        """For `open`: an ``alloc`` that takes words outside of all banks in which words ``first`` to before ``stop`` lie, where
        there is room."""
        bank = self.config.scratchpad_words // self.config.scratchpad_banks
        away = first // bank * bank, round_up(stop, bank)

        def alloc(words):
            base = self.heap.alloc(words, away=away)
            return self.heap.alloc(words) if base is None else base

        return alloc

    def fetch(self, tensor, view, row0, row1, panel0, panel1):
        """Loads rows and panels of a tensor in memory into ``view``; nothing to do for a resident one."""
        if not view.temporary:
            return
        memory, run, count, pitch, _ = tensor.runs(row0, row1, panel0, panel1)
        if run * self.config.word_bytes == pitch:       # whole rows: contiguous in memory
            run, count = run * count, 1
        stride = view.row_stride if tensor.row_major else view.panel_stride
        self.builder.load(memory, view.address(row0, panel0), run, count, pitch, stride, tracked=not tensor.constant)

    def read(self, tensor, row0, row1, panel0=0, panel1=None, alloc=None):
        """`open` and `fetch`; rows are widened to the DMA granule."""
        panel1 = tensor.panels if panel1 is None else panel1
        row0, row1 = row0 // self.granule * self.granule, round_up(row1, self.granule)
        view = self.open(tensor, row0, row1, panel0, panel1, alloc)
        self.fetch(tensor, view, row0, row1, panel0, panel1)
        return view

    def commit(self, tensor, view, row0, row1, panel0, panel1):
        """Stores rows and panels of a temporary result; nothing to do for a resident one."""
        if not view.temporary:
            return
        memory, run, count, pitch, _ = tensor.runs(row0, row1, panel0, panel1)
        stride = view.row_stride if tensor.row_major else view.panel_stride
        if run * self.config.word_bytes == pitch and run == stride:
            run, count = run * count, 1
        self.builder.store(memory, view.address(row0, panel0), run, count, pitch, stride)

    def release(self, view):
        """Frees a temporary."""
        if view is not None and view.temporary:
            self.heap.free(view.base)

    # Weights, parameters, tables.

    def streamed(self, op, x, out):
        """How the weights of a linear layer from tensor ``x`` to ``out`` are streamed (`weft.lower.weights`)."""
        kind = streamed_weights(self.config, op, out.stored_rows, x.dtype)
        key = id(op), kind
        if key not in self._packed:
            self._packed[key] = kind(self.config, op, x.channels, out.channels)
        if not self.tuning.skip_zeros:
            return self._packed[key]
        # Programs that run at a position share what is stored: what is worth it for one row is for more.
        rows = out.stored_rows if self.offsets is None else 1
        if (*key, rows) not in self._packed:
            self._packed[*key, rows] = without_zero_tiles(self._packed[key], rows)
        return self._packed[*key, rows]

    def params(self, data, key):
        """Loads parameter words (uint8[n]); returns the first. Valid while little else is loaded, see `Ring`."""
        words = round_up(ceil_div(data.size, self.config.word_bytes), self.config.dma_words)
        base = self.param_ring.take(words)
        self.builder.load(self.memory.constant(data, key), base, words, tracked=False)
        return base

    def identity(self):
        """Records of one tile that change nothing (``((x * 2) + 1) >> 1``), for ``param_hold``."""
        return self.params(pack_records(self.config, np.zeros(self.config.cols), 2, 1, 0), "identity")

    def zeros(self):
        """A view whose every element is an int8 zero; valid like `params`."""
        return View(self.params(np.zeros(self.config.dma_bytes, np.uint8), "zeros"), 0, 0, Element.INT8, 1)

    def rescale_records(self, rescale, channels, panel0, panel1, idle=0, constant=None):
        """Records of a `weft.qgraph.Rescale` for panels ``panel0..panel1``; padding channels give ``idle``.

        ``constant``: N tiles (of all panels of ``channels``, bool[panels * tiles_per_panel]) whose sums are zero and need not be
        there; only where `weft.hw.config.Config.constant_channels`.
        """
        span = slice(panel0 * self.config.panel, panel1 * self.config.panel)
        bias, mult, shift = (channels.spread(np.broadcast_to(v, channels.features), fill=f)[span]
                             for v, f in ((rescale.bias, 0), (rescale.mult, 0), (rescale.shift, 1)))
        zero = np.where(channels.map[span] >= 0, rescale.zero, idle)
        if constant is not None:
            bias, mult, shift = constant_channels(bias, mult, shift, np.repeat(constant, self.config.cols)[span])
        return pack_records(self.config, bias, mult, shift, zero)

    def table(self, values, keep=None):
        """Table slot that holds ``values[256]``; loads it unless it is there already, but not into slot ``keep``."""
        data = pack_table(self.config, values)
        key = data.tobytes()
        if key in self._tables:
            return self._tables.index(key)
        slot = self._next_table if keep is None else 1 - keep
        self._next_table = 1 - slot
        self._tables[slot] = key
        self.builder.table(self.params(data, ("table", key)), slot)
        return slot
