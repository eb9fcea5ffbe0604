"""Load and store engine and the memory behind them: instructions to bursts, bursts to beats."""

from collections import deque

__all__ = ["LoadEngine", "ReadPort", "StoreEngine"]

#: Beats of the longest burst, and the boundary that none crosses.
_BURST_BEATS = 16
_PAGE_BYTES = 4096
#: From the cycle in which a load's or store's instruction is taken to that of its token.
_TO_TOKEN = 2
#: Through the request's registers and the memory: a burst's request to its first beat, without the memory's latency.
_REQUEST = 4
#: From a line's last beat to its write and its token.
_WRITTEN = 3
#: A gathered row: entry, products of its halves, their sums, request.
_GATHER_ROW = 6
#: From a store's token to its first beat: lines are read, cut, and passed to the bus.
_TO_BEAT = 8
#: From the last beat of a burst, without the memory's latency, until it counts no more, and from then to its token.
_ANSWERED, _TOLD = 2, 1


class _Channel:
    """Bursts, at most ``in_flight`` of them, their data in order, one beat a cycle.

    ``lead``: cycles from a request to its first beat; ``trail``: from its last beat until it counts no more. ``free``: cycle
    from which the data channel is free; ``beats``: beats so far.
    """

    def __init__(self, lead, trail, in_flight):
        self.lead, self.trail, self.in_flight = lead, trail, in_flight
        self.free = 0
        self.beats = 0
        self._ends = deque([-trail] * in_flight, in_flight)
        self._requested = 0

    def burst(self, cycle, beats):
        """A burst that is requested from ``cycle`` on: ``(cycle of the request, cycle behind its last beat)``."""
        cycle = max(cycle, self._requested + 1, self._ends[0] + self.trail)
        self._requested = cycle
        self.free = max(self.free, cycle + self.lead) + beats
        self._ends.append(self.free)
        self.beats += beats
        return cycle, self.free

    def bursts(self, cycle, count, beats):
        """``count`` equal bursts; as `burst` of the last."""
        if count > 3 * self.in_flight:
            for _ in range(self.in_flight):
                self.burst(cycle, beats)
            before = self._ends[0]
            # Every burst now takes the place of that ``in_flight`` earlier: the pace is that of data or of the round trip.
            for _ in range(self.in_flight):
                self.burst(cycle, beats)
            period = self._ends[0] - before
            rest = count - 2 * self.in_flight
            rounds = rest // self.in_flight - 1
            if rounds > 0:
                skip = rounds * period
                self._ends = deque((end + skip for end in self._ends), self.in_flight)
                self._requested += skip
                self.free += skip
                self.beats += rounds * self.in_flight * beats
                rest -= rounds * self.in_flight
            count = rest
        for _ in range(count):
            requested, end = self.burst(cycle, beats)
        return requested, end

    def run(self, cycle, runs, address, beats, stride, size):
        """``runs`` runs of ``beats`` beats of ``size`` bytes, ``stride`` bytes apart; as `burst` of the last."""
        if beats <= _BURST_BEATS and runs > 1:
            # Pages cut some of these in two; the data take their time anyway.
            return self.bursts(cycle, runs, beats)
        for number in range(runs):
            for count, length in _cut(address + number * stride, beats, size):
                cycle, end = self.bursts(cycle, count, length)
        return cycle, end


class ReadPort(_Channel):
    """The read channels."""

    def __init__(self, latency, in_flight):
        super().__init__(latency + _REQUEST, 1, in_flight)

    def fetch(self, cycle, beats):
        """A burst of the instruction fetch, which goes first: cycle of its data. Bursts of loads that are known already
        may have been requested later; they move back."""
        self.free = max(self.free, cycle + self.lead) + beats
        waiting = min(max(0, self.free - beats - cycle - self.lead), self.in_flight * _BURST_BEATS)
        self.beats += beats
        self._ends.append(self.free)
        return cycle + self.lead + waiting + beats


def _cut(address, beats, size):
    """Bursts of ``beats`` beats of ``size`` bytes from byte ``address`` on: a list of ``(bursts, beats of each)``."""
    page = _PAGE_BYTES // size
    result = []
    while beats:
        room = page - address // size % page
        now = min(beats, room)
        whole, rest = divmod(now, _BURST_BEATS)
        if whole:
            result.append((whole, _BURST_BEATS))
        if rest:
            result.append((1, rest))
        beats -= now
        address += now * size
    return result


class _Front:
    """What load and store engine have in common: an instruction at a time, runs that follow each other joined."""

    def __init__(self, config, tokens, port):
        self.config, self.tokens, self.port = config, tokens, port
        self.free = 0               # takes the next instruction
        self.done = 0               # everything written, or acknowledged

    def finished(self, end):
        """Cycle in which a run is done whose beats on the bus end in cycle ``end``: each engine's own."""
        return end

    def sync(self, fields, taken):
        """Executes a SYNC that left the queue in cycle ``taken``."""
        cycle = self.tokens.wait(fields["wait"], taken + 2, fields["wait_count"])
        self.free = cycle + 2
        self.tokens.signal(fields["signal"], max(cycle + 2, self.done), fields["signal_count"])

    def copy(self, fields, taken):
        """Executes a LOAD or STORE that left the queue in cycle ``taken``."""
        cycle = taken + _TO_TOKEN
        runs, beats, stride = self.segments(fields)
        for outer in range(fields["outer_count"]):
            if outer == 0 or fields["wait_each"]:
                cycle = self.tokens.wait(fields["wait"], cycle)
            address = fields["dram_addr"] + outer * fields["outer_dram_stride"]
            cycle, end = self.port.run(cycle + 1, runs, address, beats, stride, self.config.data_bytes)
            self.done = self.finished(end)
            if fields["signal_each"] or outer == fields["outer_count"] - 1:
                self.tokens.signal(fields["signal"], self.done)
        self.free = cycle + 1

    def segments(self, fields):
        """``(segments, beats of each, byte stride)`` of one outer iteration."""
        c, runs = self.config, fields["inner_count"]
        beats = -(-fields["run_words"] * c.word_bytes // c.data_bytes)
        if runs == 1 or fields["inner_dram_stride"] == fields["run_words"] * c.word_bytes:
            return 1, -(-fields["run_words"] * runs * c.word_bytes // c.data_bytes), 0
        return runs, beats, fields["inner_dram_stride"]


class LoadEngine(_Front):
    """LOAD, INDEX, GATHER and LOAD_SYNC."""

    def __init__(self, config, tokens, port):
        super().__init__(config, tokens, port)
        self._index = 0

    def finished(self, end):
        return end + _WRITTEN

    def take(self, name, fields, offered):
        """Executes an instruction that is in the queue from cycle ``offered`` on: cycle in which it leaves it."""
        taken = max(offered, self.free)
        c, size = self.config, self.config.data_bytes
        if name == "LOAD_SYNC":
            self.sync(fields, taken)
            return taken
        if name == "INDEX":
            cycle = self.tokens.wait(fields["wait"], taken + _TO_TOKEN)
            requested, end = self.port.run(cycle + 1, 1, fields["dram_addr"], -(-4 * fields["count"] // size), 0, size)
            self._index, self.free = end + 1, requested + 1
            return taken
        if name == "GATHER":
            cycle = max(self.tokens.wait(fields["wait"], taken + _TO_TOKEN), self._index)
            beats = -(-fields["run_words"] * c.word_bytes // size)
            for _ in range(fields["count"]):
                cycle, end = self.port.run(cycle + _GATHER_ROW, 1, fields["dram_addr"], beats, 0, size)
            self.free, self.done = cycle + 1, end + _WRITTEN
            self.tokens.signal(fields["signal"], self.done)
            return taken
        self.copy(fields, taken)
        return taken


class StoreEngine(_Front):
    """STORE and STORE_SYNC: one beat a cycle, a response for each burst."""

    def __init__(self, config, tokens, latency, in_flight):
        super().__init__(config, tokens, _Channel(_TO_BEAT, latency + _ANSWERED, in_flight))

    def finished(self, end):
        return end + self.port.trail + _TOLD

    def take(self, name, fields, offered):
        """As `LoadEngine.take`."""
        taken = max(offered, self.free)
        if name == "STORE_SYNC":
            self.sync(fields, taken)
            return taken
        self.copy(fields, taken)
        return taken
