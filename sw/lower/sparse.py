"""Sparse weights in memory: of four neighbours along K those that are not zero, and their places."""

from dataclasses import dataclass

import numpy as np

from weft.hw.isa import SPARSE_PANELS
from weft.weights import KEPT, SparseWeights, kept_of, sparsity_misfit

from .builder import Run
from .layout import ceil_div, pack_sparse, tile_grid
from .streamed import StreamedWeights

__all__ = ["SparsePiece", "SparseTiles", "chosen_sparse_form", "sparse_form", "unused_sparsity"]

_WITHOUT = "the configuration is without sparsity"


def _saves(config, panels, weight, inputs, outputs):
    """Whether sparse tiles that cover so many panels are fewer than dense ones, tiles of zeros left out, and take no more
    memory."""
    tiles = ceil_div(inputs.panels, panels)
    dense = tile_grid(config, weight, inputs, outputs)
    sparse = np.pad(dense, ((0, 0), (0, -dense.shape[1] % panels))).reshape(len(dense), -1, panels).any(2)
    return (tiles < inputs.panels and tiles * config.sparse_tile_words <= inputs.panels * config.weight_tile_words
            and np.count_nonzero(dense) > np.count_nonzero(sparse))


def _form(config, spread, kept):
    """`SparseWeights` of a matrix by channels, with inputs up to whole K tiles."""
    return SparseWeights.of(np.pad(spread, ((0, 0), (0, -spread.shape[1] % (4 // kept * config.panel)))), kept)


def sparse_form(config, weight, inputs, outputs):
    """The `SparseWeights` of a matrix int8[N, K] whose zeros allow them and that takes fewer tiles so, and no more memory; or None.

    ``inputs``, ``outputs``: `weft.lower.layout.Channels` of K and N. What counts are four neighbours in memory, where the inputs'
    say that a feature lies; the form's inputs are these channels, up to whole K tiles.
    """
    taken = [panels for number, panels in SPARSE_PANELS.items() if number in config.weight_formats]
    if not taken:
        return None
    spread = inputs.spread(weight, axis=1)
    kept = kept_of(spread)
    panels = max((panels for panels in taken if 4 // panels >= kept), default=1)
    return _form(config, spread, 4 // panels) if _saves(config, panels, weight, inputs, outputs) else None


def _among_channels(config, spread, name, inputs):
    """Why a matrix by channels does not have sparsity ``name`` though the model's has, or None."""
    where = sparsity_misfit(spread, name, "channels")
    return where and f"heads of {inputs.block} inputs are padded to panels of {config.panel} channels, and of {where}"


def chosen_sparse_form(config, weight, inputs, name):
    """``(form, None)``: a matrix int8[N, K] in sparsity ``name`` ("2:4" or "1:4"), whatever it saves; ``(None, reason)`` where it
    cannot be had."""
    if not config.sparsity:
        return None, _WITHOUT
    if KEPT[name] < KEPT[config.sparsity]:
        return None, f"the configuration's sparsity is {config.sparsity}"
    spread = inputs.spread(weight, axis=1)
    refusal = _among_channels(config, spread, name, inputs)
    return (None, refusal) if refusal else (_form(config, spread, KEPT[name]), None)


def unused_sparsity(config, weight, inputs, outputs):
    """``(name, reason)`` of a matrix without `sparse_form` that has a sparsity which would save something; else None."""
    kept = kept_of(weight)
    name = next((name for name, most in KEPT.items() if kept <= most), None)
    if name is None or not _saves(config, 4 // KEPT[name], weight, inputs, outputs):
        return None
    loosest = max(KEPT, key=KEPT.get)
    reason = _among_channels(config, inputs.spread(weight, axis=1), loosest, inputs) if config.sparsity else _WITHOUT
    return reason and (name, reason)


@dataclass(frozen=True)
class SparsePiece:
    """A piece of sparse weights in the scratchpad: N panels from ``n0`` on, ``panel_words`` each from word ``base`` on;
    ``w_format``: their `weft.hw.isa.WeightFormat`."""
    n0: int
    base: int
    panel_words: int
    w_format: int

    def multiply(self, builder, operand, row, rows, k0, k_tiles, n0, n1, sums, accumulate, unsigned, stride):
        """As of `weft.lower.weights.Piece`; ``k_tiles`` counts tiles as if they were dense."""
        covered = SPARSE_PANELS[self.w_format]
        tiles = ceil_div(k_tiles, covered)
        base = self.base + (n0 - self.n0) * self.panel_words
        fields = {"w_base": base, "w_format": self.w_format, "k_missing": tiles * covered - k_tiles}
        builder.matmul(operand, row, rows, k0, tiles, (n1 - n0) * builder.config.tiles_per_panel, sums,
                       Run(fields, [(base, (n1 - n0) * self.panel_words)]), accumulate=accumulate, unsigned=unsigned,
                       stride=stride, a_panels=k_tiles)


class SparseTiles(StreamedWeights):
    """Weights with two or three zeros among four neighbours, from `sparse_form`."""

    layout, fills_banks = "sparse tiles", True

    def __init__(self, config, op, inputs, outputs):
        super().__init__(config, op, inputs, outputs)
        #: Panels that a tile covers. All pieces but the last one consist of whole tiles.
        self.granule = self.period = 4 // op.compressed.values.shape[2]
        self.format = next(number for number, panels in SPARSE_PANELS.items() if panels == self.granule)
        self.tile_words = config.sparse_tile_words
        self.panel_words = ceil_div(self._words(inputs.panels), inputs.panels)

    def _words(self, k_panels):
        """Words of so many panels of K, from the beginning of a tile on, of an N panel."""
        return self.config.tiles_per_panel * ceil_div(k_panels, self.granule) * self.tile_words

    def cycles(self, rows):
        """Cycles of the array for what would be a dense tile, and so many rows."""
        return max(rows, self.config.load_steps(self.format)) / self.granule

    def pace(self, rows):
        """The same, or of the bus for a tile."""
        return ceil_div(max(rows, self.config.rows), self.granule)

    @property
    def products(self):
        """Weights that each row is multiplied with, padding left out: what is kept of the blocks that hold inputs."""
        n, k = self.op.weight.shape
        present = np.pad(self.inputs.map >= 0, (0, -len(self.inputs.map) % 4)).reshape(-1, 4).any(1)
        return min(n * k, n * int(np.count_nonzero(present)) * (4 // self.granule))

    @property
    def bytes(self):
        """Bytes of the weights as they are stored, padding left out: one for a value, two bits for a place."""
        return ceil_div(5 * self.products, 4)

    def pack(self):
        """All tiles, uint8[n_tiles, k_tiles, bytes]."""
        return pack_sparse(self.config, self.op.compressed, self.outputs)

    def runs(self, n0, n1, k0, k1):
        """``(first, words, count, pitch)`` of the runs of words of a piece within all tiles."""
        n, tile = self.config.tiles_per_panel, self.tile_words
        first, stop, all_tiles = (ceil_div(k, self.granule) for k in (k0, k1, self.inputs.panels))
        return (n0 * n * all_tiles + first) * tile, (stop - first) * tile, (n1 - n0) * n, all_tiles * tile

    def piece(self, n0, n1, k0, k1, base):
        """The piece whose words begin at scratchpad word ``base``, an even one."""
        return SparsePiece(n0, base, self._words(k1 - k0), self.format)

    def data(self, n0, n1, k0, k1):
        """Tiles of panels as they lie in memory, uint8[bytes]."""
        n = self.config.tiles_per_panel
        tiles = self.packed[n0 * n:n1 * n, ceil_div(k0, self.granule):ceil_div(k1, self.granule)]
        return np.ascontiguousarray(tiles).reshape(-1)
