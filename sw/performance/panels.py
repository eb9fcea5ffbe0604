"""Rows of sparse tiles: how many cycles a pass takes whose rows consist of words of several panels, two panels to a port.

The pace follows from which memories of a bank the ports ask for, and has no simple form: the readers of
``hw/tensor/panel_reader.py`` are walked through cycle by cycle, once for each number of rows and alignment.
"""

from functools import lru_cache

__all__ = ["pass_cycles"]

_PANELS_PER_PORT = 2
#: Lines that a panel's reader holds; cycles from a line's request to its place among them; runs that the second port may be behind.
_LINES, _LATENCY, _RUNS_BEHIND = 5, 3, 2
#: Rows from which on the pace grows evenly, by the same for each `_PERIOD` of them.
_EVEN_FROM, _PERIOD = 40, 8
#: Cycles in which all readers fill, as they do before an instruction's first tile; passes until the pace is steady, and measured.
_FILL, _UNSTEADY, _PASSES = 16, 8, 16


def pass_cycles(rows, panels):
    """Cycles of each of many passes of ``rows`` rows, rounded; ``panels``: for each panel of a tile ``(odd, line, bank)``: whether
    its first row is the upper word of a line, that line's lowest bit, and its bank."""
    periods, rest = divmod(rows - _EVEN_FROM, _PERIOD)
    if periods < 2:
        return round(_walked(rows, panels))
    first, second = (_walked(_EVEN_FROM + rest + more, panels) for more in (0, _PERIOD))
    return round(first + periods * (second - first))


@lru_cache(maxsize=None)
def _walked(rows, panels):
    walk = _Walk(rows, panels)
    while walk.passes < _UNSTEADY:
        walk.step()
    start = walk.cycle
    while walk.passes < _UNSTEADY + _PASSES:
        walk.step()
    return (walk.cycle - start) / _PASSES


class _Reader:
    """A panel's reader: ``left`` lines of its run from ``line`` on, ``held`` ones that have come, ``coming`` by age."""

    def __init__(self, odd, line, bank, rows):
        self.odd, self.first, self.bank = odd, line, bank
        self.lines = (rows + odd + 1) // 2
        self.left = self.line = self.held = 0
        self.coming = [False] * _LATENCY

    @property
    def asks(self):
        return self.left and self.held + sum(self.coming) < _LINES

    @property
    def memory(self):
        return self.bank, self.line % 2


class _Walk:
    """``passes`` that are over after ``cycle`` cycles."""

    def __init__(self, rows, panels):
        self.rows, self.readers = rows, [_Reader(*panel, rows) for panel in panels]
        self.ports = [self.readers[n:n + _PANELS_PER_PORT] for n in range(0, len(panels), _PANELS_PER_PORT)]
        self.turns = [False] * len(self.ports)
        self.behind = 0                     # runs that the second port has to begin
        self.row = self.passes = self.cycle = 0

    def step(self):
        """A cycle: a line for each port, a row where all of its words are there, and new runs."""
        self.cycle += 1
        served = self._served()
        issues = self.cycle > _FILL and all(reader.held for reader in self.readers)
        last = self.row == self.rows - 1
        done = [issues and (last or reader.odd != self.row % 2) for reader in self.readers]
        if issues:
            self.row = 0 if last else self.row + 1
            self.passes += last
        ready = [all(not reader.left or reader in served and reader.left == 1 for reader in port) for port in self.ports]
        begins = [ready[0] and self.behind < _RUNS_BEHIND, self.behind > 0 and ready[-1]]
        for number, reader in enumerate(self.readers):
            reader.held += reader.coming.pop()
            reader.coming.insert(0, reader in served)
            reader.held -= done[number]
            if reader in served:
                reader.line, reader.left = reader.line + 1, reader.left - 1
            if begins[number // _PANELS_PER_PORT]:
                reader.line, reader.left = reader.first, reader.lines
        if len(self.ports) > 1:
            self.behind += begins[0] - begins[1]

    def _served(self):
        """Readers whose line comes: those of a port take turns, and the second port, which gives way to the first, prefers the
        line in the other memory."""
        served, before = [], None
        for number, port in enumerate(self.ports):
            asking = [reader for reader in port if reader.asks]
            if not asking:
                continue
            prefers = port[0] in asking and not (port[-1] in asking and len(port) > 1 and self.turns[number])
            if before is not None and len(asking) > 1 and asking[0].line % 2 != asking[1].line % 2:
                prefers = asking[0].line % 2 != before.line % 2
            chosen = port[0] if prefers else port[-1]
            if before is not None and chosen.memory == before.memory:
                continue
            self.turns[number] = prefers
            before = before or chosen
            served.append(chosen)
        return served
