"""The tensor engine: weight loader and row streamer, tile by tile."""

from collections import deque

from weft.hw.isa import SPARSE_PANELS, WeightFormat

from .panels import pass_cycles

__all__ = ["TensorEngine"]

#: From a weight token to the first step of the tile's shift, where nothing is in the way.
_TO_SHIFT = 9
#: From a row token (or one for the accumulators) to the first row.
_TO_ROW = 7
#: Tiles that the loader, the streamer is ahead of the one that is shifted, streamed.
_LOADER_AHEAD, _STREAMER_AHEAD = 5, 3
#: Instructions between the control unit's queue and each thread.
_QUEUE = 2
#: Cycles from a sum's reading to its writing, before it can be added to again.
_SUMS_AGAIN = 4
#: From a row's issue to its sums in the accumulators, beside the array's height (in pairs of rows, with `sparsity`) and width.
_TO_SUMS = 3
#: From the cycle in which the accumulators are read to add a row to that of its token.
_ADDED = 4


class TensorEngine:
    """MATMUL, MATMUL_KT, MATMUL_V, MATMUL_C and TENSOR_SYNC. ``done``: cycle from which on everything is written."""

    def __init__(self, config, tokens, banks):
        self.config, self.tokens, self.banks = config, tokens, banks
        self.done = 0
        self._popped = deque([0] * _QUEUE, _QUEUE)      # by the later one of both threads
        self._loader = self._streamer = 0               # walk the next instruction's tiles
        self._swap = self._rows_end = 0                 # last tile taken; behind its last row
        self._full = deque([0] * _LOADER_AHEAD, _LOADER_AHEAD)
        self._started = deque([0] * _STREAMER_AHEAD, _STREAMER_AHEAD)
        self.waits = dict.fromkeys(("weights", "rows"), 0)

    def _scale_words(self, f):
        """Words of scales of one N tile."""
        rows = -(-f["k_tiles"] // f["w_group"]) if f["w_group"] else 2 * f["k_tiles"]
        return -(-rows // self.config.scale_rows_per_word)

    def _panels(self, f, covered):
        """Where the rows of a sparse tile's panels begin, as `pass_cycles` takes them."""
        bank = self.config.scratchpad_words // self.config.scratchpad_banks
        words = [f["a_base"] + n * f["a_panel_stride"] for n in range(covered - (f["k_missing"] if f["k_tiles"] == 1 else 0))]
        return tuple((word % 2, word // 2 % 2, word // bank) for word in words)

    def take(self, name, f, offered):
        """Executes an instruction that is in the queue from cycle ``offered`` on: cycle in which it leaves it."""
        taken = max(offered, self._popped[0] + 1)
        loader, streamer = max(taken + 1, self._loader), max(taken + 1, self._streamer)
        self._popped.append(max(loader, streamer))
        if name == "TENSOR_SYNC":
            cycle = max(streamer, loader, self._rows_end + 2)
            cycle = self.tokens.wait(f["wait"], cycle + 1, f["wait_count"])
            self.tokens.signal(f["signal"], cycle + 1, f["signal_count"])
            self._loader = self._streamer = cycle + 2 + f["signal_count"]
            return taken
        c = self.config
        w_format, rows = f.get("w_format", WeightFormat.INT8), f["rows"]
        shift = c.product_steps(name, w_format)
        tiles = f["k_tiles"] * f["n_tiles"]

        # First tile: its weights, its rows.
        weights = self.tokens.wait(f["w_wait"], max(loader + 2, self._full[0]))
        row = self.tokens.wait(f["a_wait"], max(streamer + 2, self._started[0]))
        row = self.tokens.wait(f["acc_wait"], row)
        full = max(weights + _TO_SHIFT, self._swap) + shift
        swap = max(full, self._rows_end, row + _TO_ROW)
        self.waits["weights"] += max(0, full - max(self._rows_end, row + _TO_ROW))
        self.waits["rows"] += max(0, row + _TO_ROW - max(self._rows_end, full))
        # The others follow at the pace of the longer one of shifting and streaming.
        pace = max(shift, rows)
        if f["k_tiles"] > 1 and not f["k_outer"]:
            pace = max(pace, _SUMS_AGAIN)
            if w_format in SPARSE_PANELS and 1 < rows < _SUMS_AGAIN:
                pace = max(pace, rows + _SUMS_AGAIN - 1)
        if w_format in SPARSE_PANELS:
            pace = max(pace, pass_cycles(rows, self._panels(f, SPARSE_PANELS[w_format])))
        # A word of scales takes a cycle of the shift.
        scales = f["n_tiles"] * self._scale_words(f) if w_format == WeightFormat.FOUR_BIT and shift >= rows else 0
        swap += scales
        for number in range(max(1, tiles - _LOADER_AHEAD), tiles):
            self._full.append(swap + (number - 1) * pace + shift)
        self._full.append(swap + (tiles - 1) * pace + shift)
        for number in range(max(0, tiles - _STREAMER_AHEAD), tiles):
            self._started.append(swap + number * pace)
        self._loader = max(weights + tiles, self._full[0])
        self._streamer = max(row + tiles, self._started[0])
        last = swap + (tiles - 1) * pace
        full = swap + (tiles - 2) * pace + shift if tiles > 1 else full
        self._swap, self._rows_end = last, last + rows
        end = last + rows - 1
        behind = _TO_SUMS + c.rows // (2 if c.sparsity else 1) + c.cols
        self.banks.product(f, swap + behind - _ADDED, pace)
        self.done = end + behind
        self.tokens.signal(f["w_signal"], full)
        self.tokens.signal(f["a_signal"], end + 1)
        self.tokens.signal(f["acc_signal"], self.done)
        return taken
