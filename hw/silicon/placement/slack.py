"""Arrival times in a placed netlist, and how long paths go on."""

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush

from .delays import DEDICATED, cell_delays, connection

__all__ = ["NEVER", "Slack"]

#: Arrival of constants and of what no clock is behind, in ns; tail of what no clock takes.
NEVER = -1000.0
#: How much longer than in an empty device a wire becomes that is routed between all others.
_DETOUR = 0.2


class Slack:
    """Of every net that a register or memory sends and another takes: ``arrival`` at its driver, and ``tail`` from there to the
    latest end of a path, in ns.

    ``fan_in``: ``{net: [(net before, pin of the driver, delay through it)]}``; ``fan_out``: ``{(cell, pin): [(net, delay)]}``;
    ``setup``: ``{(cell, pin): ns}`` of ends of paths; ``start``: ``{net: ns}`` after the clock; ``rank``: ``{net: number}``, higher
    than of those that a net depends on.

    Delays are those that `delays` estimates, or of a netlist that has been routed, those of ``routed`` (`Routed`) but for wires
    of cells that have moved since.
    """

    def __init__(self, packed, routed=None):
        self.packed = packed
        number = {name: cell for cell, name in enumerate(packed.names)}
        self._known = routed and {(number[name], pin): delay for (name, pin), delay in routed.wires.items() if name in number}
        self.fan_in, self.fan_out, self.setup, self.start = defaultdict(list), defaultdict(list), {}, {}
        for cell, (kind, pins, parameters) in enumerate(zip(packed.kinds, packed.pins, packed.parameters, strict=True)):
            delays = routed.cells[packed.names[cell]] if routed else cell_delays(kind, pins, parameters)
            for pin, output, delay in delays.through:
                if pin not in pins or output not in pins:
                    continue
                self.fan_out[cell, pin].append((pins[output], delay))
                self.fan_in[pins[output]].append((pins[pin], pin, delay))
            self.setup |= {(cell, pin): delay for pin, delay in delays.setup.items() if pin in pins}
            self.start |= {pins[pin]: delay for pin, delay in delays.start.items() if pin in pins}
        self.rank = {net: rank for rank, net in enumerate(self._sort())}
        self.compute()

    def _sort(self):
        """Nets, each behind those that it depends on."""
        driver = self.packed.driver
        sorter = TopologicalSorter({net: [before for before, _, _ in self.fan_in.get(net, ()) if before in driver]
                                    for net in driver})
        try:
            sorter.prepare()
        except CycleError:      # what is part of a loop, or behind one, has no time
            pass
        while sorter.is_active():
            ready = sorter.get_ready()
            yield from ready
            sorter.done(*ready)

    def compute(self):
        """Everything anew."""
        self.arrival = dict.fromkeys(self.packed.driver, NEVER)
        self.tail = dict.fromkeys(self.packed.driver, NEVER)
        for net in self.rank:
            self.arrival[net] = self._arrives(net)
        for net in reversed(self.rank):
            self.tail[net] = self._goes_on(net)

    def wire(self, net, cell, pin):
        """Delay of a net's wire to one of its users."""
        return self.between(self.packed.driver[net][0], cell, pin)

    def between(self, driver, cell, pin):
        """Delay of the wire from a driver to a pin of a cell: as it was routed, unless one of them has moved."""
        packed = self.packed
        if self._known:
            known = self._known.get((cell, pin))
            if known is not None and not packed.moved(driver) and not packed.moved(cell):
                return known
        return self.estimate(driver, cell, pin)

    def estimate(self, driver, cell, pin, columns=0, rows=0):
        """Delay of the wire from a driver to a pin of a cell, were the driver to stand so much further."""
        x, y = self.packed.x, self.packed.y
        return connection(pin, x[driver] - x[cell] + columns, y[driver] - y[cell] + rows) + \
            (_DETOUR if self._known and pin not in DEDICATED else 0.0)

    def rest(self, cell, pin):
        """Longest way from a pin to the end of a path."""
        longest = self.setup.get((cell, pin), NEVER)
        for net, delay in self.fan_out.get((cell, pin), ()):
            longest = max(longest, delay + self.tail[net])
        return longest

    def length(self, net, cell, pin):
        """Longest path through a wire."""
        return self.arrival[net] + self.wire(net, cell, pin) + self.rest(cell, pin)

    def ends(self):
        """``[(length, cell, pin)]`` of the longest path to each end, longest first."""
        packed, found = self.packed, []
        for (cell, pin), delay in self.setup.items():
            net = packed.pins[cell][pin]
            if self.arrival.get(net, NEVER) > NEVER / 2:
                found.append((self.arrival[net] + self.wire(net, cell, pin) + delay, cell, pin))
        return sorted(found, reverse=True)

    def _arrives(self, net):
        latest, cell = self.start.get(net, NEVER), self.packed.driver[net][0]
        for before, pin, delay in self.fan_in.get(net, ()):
            arrival = self.arrival.get(before, NEVER)
            if arrival > NEVER / 2:
                latest = max(latest, arrival + self.wire(before, cell, pin) + delay)
        return latest

    def _goes_on(self, net):
        longest = NEVER
        if self.arrival[net] > NEVER / 2:
            for cell, pin in self.packed.users[net]:
                rest = self.rest(cell, pin)
                if rest > NEVER / 2:
                    longest = max(longest, self.wire(net, cell, pin) + rest)
        return longest

    def update(self, cells):
        """What changes after ``cells`` (a set) have moved."""
        packed, rank = self.packed, self.rank
        around = {net for cell in cells for net in packed.pins[cell].values() if net in rank}
        later = set(around)
        for net in around:
            moved = packed.driver[net][0] in cells
            for user in packed.users[net]:
                if moved or user[0] in cells:
                    later.update(after for after, _ in self.fan_out.get(user, ()) if after in rank)

        def settle(todo, sign, values, compute, next_to):
            heap = [(sign * rank[net], net) for net in todo]
            heapify(heap)
            waiting = set(todo)
            while heap:
                _, net = heappop(heap)
                waiting.discard(net)
                value = compute(net)
                if value != values[net]:
                    values[net] = value
                    for other in next_to(net):
                        if other in rank and other not in waiting:
                            waiting.add(other)
                            heappush(heap, (sign * rank[other], other))

        settle(later, 1, self.arrival, self._arrives,
               lambda net: (after for user in packed.users[net] for after, _ in self.fan_out.get(user, ())))
        settle(around, -1, self.tail, self._goes_on, lambda net: (before for before, _, _ in self.fan_in.get(net, ())))
