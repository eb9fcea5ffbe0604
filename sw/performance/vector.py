"""The vector engine: one instruction after the other, its groups prepared ahead."""

from collections import deque

from weft.hw.config import DIVISION_CYCLES
from weft.hw.isa import Element

__all__ = ["VectorEngine"]

#: From the cycle in which an instruction is taken to that in which its first token is consumed.
_TO_TOKEN = 2
#: From an item's issue: into the lanes, through stage 5 (records taken over), through the last stage.
_LAUNCH, _TAKEN_OVER, _THROUGH = 4, 9, 11
#: More of a norm, whose items go through the lanes twice.
_AGAIN = 6
#: From the last result until the next instruction is taken.
_NEXT = 3
#: Row unit: cycles for a root and for a division.
_ROOT, _DIVISION = 15, 17
#: Stages of softmax behind the score, and of its sum.
_SOFTMAX = 17
#: Rows on their way from issue to the last exponential.
_ROWS = 8


class VectorEngine:
    """REQUANT, STATS, NORM, SOFTMAX, TABLE and VECTOR_SYNC. ``free``: takes the next instruction."""

    def __init__(self, config, tokens, banks):
        self.config, self.tokens, self.banks = config, tokens, banks
        self.free = 0
        self._parts, self._exponentials, self._ring = config.product_parts, config.exponential_parts, config.softmax_ring
        levels = (config.vector_lanes - 1).bit_length()
        self._tree = -(-levels // 2)

    def take(self, name, f, offered):
        """Executes an instruction that is in the queue from cycle ``offered`` on: cycle in which it leaves it."""
        taken = max(offered, self.free)
        tokens = self.tokens
        if name == "VECTOR_SYNC":
            cycle = tokens.wait(f["wait"], taken + _TO_TOKEN, f["wait_count"])
            tokens.signal(f["signal"], cycle + 3, f["signal_count"])
            self.free = cycle + 3 + f["signal_count"]
            return taken
        ready = tokens.wait(f["src_wait"], taken + _TO_TOKEN, f["tiles"] if f.get("src_wait_each") and
                            name == "SOFTMAX" else 1) + 1
        if name == "TABLE":
            ready += 64 + 4
            tokens.signal(f["src_signal"], ready + 2)
            self.free = ready + 3
            return taken
        if "dst_wait" in f:
            ready = tokens.wait(f["dst_wait"], ready)
        getattr(self, "_" + name.lower())(f, ready + 1)
        return taken

    def _lines(self):
        return self.config.param_group_words // 2

    def _groups(self, f, ready, per_item, extra):
        """Issue of the groups one after the other: cycle of the last item. Tokens of single tiles are not modelled:
        the compiler makes none."""
        c, rows = self.config, f["rows"]
        groups = f["tiles"] * c.groups_per_tile
        ready += self._lines() + 1
        if f.get("param_hold") and c.groups_per_tile == 1:
            least = 3
        else:
            least = _TAKEN_OVER + extra + self._lines() + 2
        last = ready + (groups - 1) * max(per_item * rows, least) + per_item * rows - 1
        if f.get("src_type") == Element.ACC:
            base, stride, step = f["src_base"], f["src_panel_stride"], f["src_row_stride"]
            if self.banks.busy(ready, last, base, base + (f["tiles"] - 1) * stride + (rows - 1) * step):
                for group in range(groups):
                    behind = self.banks.read(ready, base + group // c.groups_per_tile * stride, step, rows, per_item)
                    ready = max(behind, ready + least)
                last = behind - 1
        return last

    def _requant(self, f, ready):
        last = self._groups(f, ready, self._parts if f["multiply"] else 1, 0)
        self._finish(f, last + _LAUNCH + 1, last + _THROUGH + 1)

    def _norm(self, f, ready):
        last = self._groups(f, ready, self._parts + self._parts % 2, _AGAIN)
        self._finish(f, last + _LAUNCH + 1, last + _THROUGH + _AGAIN + 1)

    def _finish(self, f, source, result):
        self.tokens.signal(f["src_signal"], source)
        if "dst_signal" in f:
            self.tokens.signal(f["dst_signal"], result)
        self.free = result + _NEXT - 1

    def _stats(self, f, ready):
        groups = f["tiles"] * self.config.groups_per_tile
        behind = _LAUNCH + self._parts - 1 + self._tree + 2 + _ROOT
        last = ready + (groups - 1) * self._parts + (f["rows"] - 1) * max(groups * self._parts, behind)
        self._finish(f, last + _LAUNCH + 1, last + behind + 1)

    def _softmax(self, f, ready):
        groups = f["tiles"] * self.config.groups_per_tile
        ready += self._lines() + 1 + (2 if f["last"] else 0)
        exponentials, units = groups * self._exponentials, self.config.division_units
        # Items of eight rows and two blocks are on their way, so issue runs ahead of exponentials.
        items = f["rows"] * groups
        base, stride = f["acc_base"], f["acc_stride"]
        last = ready + items - 1
        begun = ready + _THROUGH + _SOFTMAX + exponentials
        result = max(begun + (f["rows"] - 1) * exponentials, last + _THROUGH + _SOFTMAX)
        if self._exponentials > 1:
            ahead = min(self._ring, _ROWS * groups)
            last = max(last, ready + groups + _THROUGH + (items - ahead) * self._exponentials)
            result += groups        # the first row's scores, which otherwise hide in the pipeline
            begun += groups
        # As many divisions in nine cycles as there are dividers, behind the sums.
        divided = max(result, begun + (f["rows"] - 1) * DIVISION_CYCLES // units)
        if self.banks.busy(ready, last, base, base + (f["tiles"] - 1) * stride + f["rows"] - 1):
            last, end, quotients = self._rows_of_scores(f, ready, groups)
            result = max(result, end + _THROUGH + _SOFTMAX)
            divided = max(divided, quotients + _THROUGH + _SOFTMAX)
        self.tokens.signal(f["src_signal"], last + _LAUNCH + 1, f["tiles"] if f["src_signal_each"] else 1)
        self.tokens.signal(f["dst_signal"], result)
        self.free = (divided + _DIVISION if f["last"] else result) + _NEXT

    def _rows_of_scores(self, f, ready, groups):
        """Cycles of the last item's issue, of the last exponential and of the last division without its latency, of rows whose
        reads wait for banks."""
        exponentials, units = groups * self._exponentials, self.config.division_units
        waiting = exponentials if self._exponentials > 1 else 0
        ends = deque([ready - _THROUGH] * max(1, min(_ROWS, self._ring // groups)))
        behind = end = ready
        divided = 0             # in parts of a cycle, one for each divider
        for row in range(f["rows"]):
            room = ends.popleft() + _THROUGH if waiting else ready
            behind = self.banks.read(max(behind, room), f["acc_base"] + row, f["acc_stride"], f["tiles"],
                                     self.config.groups_per_tile)
            end = max(end + exponentials if row else end, behind + waiting)
            ends.append(end)
            divided = max(divided + DIVISION_CYCLES, end * units)
        return behind - 1, end, -(-divided // units)
