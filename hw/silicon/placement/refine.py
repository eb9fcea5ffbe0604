"""Moves that shorten the paths which are too long."""

from itertools import product

from .delays import DEDICATED
from .packed import Packed
from .sites import Sites
from .slack import NEVER, Slack

__all__ = ["Refinement", "refine"]

#: A path longer than the target by d ns costs d squared; so much costs a row or column of wire more than before.
_WIRE_COST = 0.005
#: Nets of more users are not counted as wire.
_MOST_USERS = 40
#: Units of more cells stay.
_MOST_CELLS = 40
#: Steps of the first look at where a unit might go, in each direction; of how many the surroundings are looked at; how far.
_STEPS, _BEST, _NEAR = 10, 4, 2
#: Places of which occupants are asked to leave; at most so many, and so far.
_TRIES, _MOST_OCCUPANTS, _FAR = 6, 30, 4
#: Neighbours on a path that move together: how many, and how far apart at most.
_GROUP, _APART = 8, 4
#: A move that gains less than this share of the cost is none.
_LEAST_GAIN = 0.02
_RING = sorted(product(range(-_FAR, _FAR + 1), repeat=2), key=lambda step: (abs(step[0]) + abs(step[1]), step))
#: A round that shortens all paths together by less than so many ns is the last.
_LAST_GAIN = 0.2


def refine(source, target, target_ns, tell=lambda text: None):
    """Moves cells of a placed netlist, a JSON file ``source`` of nextpnr for ECP5, until paths of more than ``target_ns`` get no
    shorter together; writes ``target``, in which nextpnr moves nothing any more. ``tell(text)`` hears of each round."""
    packed = Packed.read(source)
    Refinement(packed, target_ns).run(tell)
    packed.write(target)


class Refinement:
    """Rounds of moves; each is made where it stands out as a gain by exact arrival times and the delays of `delays`."""

    def __init__(self, packed, target_ns, routed=None):
        """``routed``: delays of wires and cells, where the netlist has been routed."""
        self.packed, self.target = packed, target_ns
        self.slack, self.sites = Slack(packed, routed), Sites(packed)
        self._outlines = {}

    def run(self, tell):
        """Rounds, until all paths that are too long get no shorter together."""
        packed, before, places = self.packed, None, None
        while True:
            longest, count, over = self.standing()
            tell(f"{longest:.1f} ns, {count} ends of paths beyond {self.target:.1f}")
            if before is not None and over > before:
                # Moves are judged by squares, of few paths each: all together may have become longer.
                packed.x, packed.y, packed.slot = places
                self.slack.compute()
                break
            if not count or (before is not None and before - over < _LAST_GAIN):
                break
            before, places = over, (packed.x[:], packed.y[:], packed.slot[:])
            if not self.sweep():
                break

    def standing(self):
        """``(longest path, ends beyond the target, their ns beyond it)``."""
        ends = self.slack.ends()
        beyond = [length - self.target for length, _, _ in ends if length > self.target]
        return ends[0][0] if ends else 0.0, len(beyond), sum(beyond)

    def sweep(self):
        """Tries to move every unit on a path that is too long, those on the longest first; how many moved."""
        slack, sites, longest = self.slack, self.sites, {}
        for net, arrival in slack.arrival.items():
            if arrival + slack.tail[net] > self.target:
                driver = self.packed.driver[net][0]
                for cell, pin in self.packed.users[net]:
                    length = slack.length(net, cell, pin)
                    if length > self.target:
                        for unit in (sites.unit[driver], sites.unit[cell]):
                            if unit not in sites.fixed and len(sites.members[unit]) <= _MOST_CELLS:
                                longest[unit] = max(length, longest.get(unit, 0.0))
        return sum(self._move(unit) or self._move_group(unit) for unit in sorted(
            longest, key=lambda unit: (-round(longest[unit], 2), len(sites.members[unit]))))

    def _outline(self, members):
        """``(nets that these cells drive, in order; [(net, cell, pin)] of ends of paths in them)``."""
        key = tuple(members)
        if key not in self._outlines:
            packed, rank = self.packed, self.slack.rank
            own = {net for cell in members for net in packed.pins[cell].values() if packed.driver.get(net, (None,))[0] == cell}
            ends = [(net, cell, pin) for cell in members for pin, net in packed.pins[cell].items()
                    if (cell, pin) in self.slack.setup and net in packed.driver and net not in own]
            self._outlines[key] = sorted(own & rank.keys(), key=rank.get), ends
        return self._outlines[key]

    def _cost(self, members, columns=0, rows=0):
        """Of the paths through cells, were they to move so far and nothing else."""
        packed, slack, target = self.packed, self.slack, self.target
        inside, (own, ends), arrivals, cost = set(members), self._outline(members), {}, 0.0
        driver = packed.driver

        def delay(pin, source, sink):
            if not (columns or rows) or not (source in inside or sink in inside):
                return slack.between(source, sink, pin)
            moved = (source in inside) - (sink in inside)
            return slack.estimate(source, sink, pin, moved * columns, moved * rows)

        for net in own:
            cell = driver[net][0]
            latest = slack.start.get(net, NEVER)
            for before, pin, through in slack.fan_in.get(net, ()):
                arrival = arrivals[before] if before in arrivals else slack.arrival.get(before, NEVER)
                if arrival > NEVER / 2:
                    latest = max(latest, arrival + delay(pin, driver[before][0], cell) + through)
            arrivals[net] = latest
            if latest > NEVER / 2:
                for user, pin in packed.users[net]:
                    rest = slack.setup.get((user, pin), NEVER)
                    for after, through in slack.fan_out.get((user, pin), ()):
                        if driver[after][0] not in inside:
                            rest = max(rest, through + slack.tail[after])
                    if rest > NEVER / 2:
                        length = latest + delay(pin, cell, user) + rest
                        if length > target:
                            cost += (length - target) ** 2
        for net, cell, pin in ends:
            if slack.arrival[net] > NEVER / 2:
                length = slack.arrival[net] + delay(pin, driver[net][0], cell) + slack.setup[cell, pin]
                if length > target:
                    cost += (length - target) ** 2
        return cost

    def _span(self, members, columns=0, rows=0):
        """Half the boxes around the nets of cells, were they to move so far."""
        packed, inside, total, seen = self.packed, set(members), 0, set()
        for cell in members:
            for pin, net in packed.pins[cell].items():
                users = packed.users[net]
                if net not in seen and net in packed.driver and pin not in DEDICATED and len(users) <= _MOST_USERS:
                    seen.add(net)
                    spots = [(packed.x[other] + columns * (other in inside), packed.y[other] + rows * (other in inside))
                             for other in (packed.driver[net][0], *(user for user, _ in users))]
                    across, down = zip(*spots, strict=True)
                    total += max(across) - min(across) + max(down) - min(down)
        return total

    def _neighbours(self, members):
        """``{(cell, other)}`` on paths that are too long, others outside."""
        packed, slack, inside, found = self.packed, self.slack, set(members), set()
        for cell in members:
            for pin, net in packed.pins[cell].items():
                if net in packed.driver and slack.arrival[net] + slack.tail[net] > self.target:
                    source = packed.driver[net][0]
                    for user, sink in packed.users[net] if source == cell else [(cell, pin)]:
                        other = user if source == cell else source
                        if other not in inside and slack.length(net, user, sink) > self.target:
                            found.add((cell, other))
        return found

    def _steps(self, members, most):
        """``[(cost, columns, rows)]``, best first: a look at the box around neighbours on long paths, then around the best."""
        packed, first = self.packed, members[0]
        others = {other for _, other in self._neighbours(members)} | {first}
        if len(others) == 1:
            return []
        ranges = []
        for place in (packed.x, packed.y):
            spots = [place[other] - place[first] for other in others]
            low, high = min(spots), max(spots)
            ranges.append(range(low - 1, high + 2, max(1, (high - low) // _STEPS)))
        coarse = sorted((self._cost(members, *step), step) for step in product(*ranges))
        fine = {(columns + right, rows + down) for _, (columns, rows) in coarse[:most]
                for right, down in product(range(-_NEAR, _NEAR + 1), repeat=2)}
        span = self._span(members)
        return sorted((self._cost(members, *step) + _WIRE_COST * max(0, self._span(members, *step) - span), *step)
                      for step in fine)

    def _move(self, unit):
        """Moves a unit to where it costs less: a free place, that of a unit of its shape, or one that others leave."""
        sites, members = self.sites, self.sites.members[unit]
        here = self._cost(members)
        if not here:
            return False
        origin, tries = sites.places(unit), 0
        steps = self._steps(members, _BEST)
        sites.lift(unit)
        for cost, columns, rows in steps:
            if cost >= here * (1 - _LEAST_GAIN):
                break
            places = self._free(unit, columns, rows)
            if places:
                sites.put(places)
                self.slack.update(set(members))
                return True
            if tries < _TRIES:
                tries += 1
                for places in sites.variants(unit, columns, rows):
                    if any(way(unit, origin, places, here - cost) for way in (self._exchange, self._replace)):
                        return True
        sites.put(origin)
        return False

    def _keep(self, were, before):
        """Keeps where units (``{unit: places before}``) are now, unless their paths together cost as much as before."""
        cells = self._cells(were)
        self.slack.update(set(cells))
        if self._cost(cells) < before * (1 - _LEAST_GAIN):
            return True
        self._undo(were, were)
        self.slack.update(set(cells))
        return False

    def _undo(self, settled, were):
        """Puts units, of which those that are ``settled`` stand somewhere, back to where they ``were``."""
        for unit in settled:
            self.sites.lift(unit)
        for places in were.values():
            self.sites.put(places)

    def _cells(self, units):
        return [cell for unit in units for cell in self.sites.members[unit]]

    def _exchange(self, unit, origin, places, gain):
        """Exchanges a unit, which is lifted, and one of its shape that stands in ``places``."""
        sites = self.sites
        there = {sites.tiles.get((x, y), {}).get(slot) for _, x, y, slot in places}
        others = {sites.unit[cell] for cell in there if cell is not None}
        if None in there or len(others) != 1:
            return False
        (other,) = others
        back = {tuple(place): spot for (_, *spot), (_, *place) in zip(origin, places, strict=True)}
        were = sites.places(other)
        if other in sites.fixed or {tuple(place) for _, *place in were} != set(back):
            return False
        goal = [(cell, *back[tuple(place)]) for cell, *place in were]
        columns, rows = origin[0][1] - places[0][1], origin[0][2] - places[0][2]
        if self._cost(sites.members[other], columns, rows) > self._cost(sites.members[other]) + gain / 2:
            return False
        before = self._cost(self._cells((unit, other)))
        sites.lift(other)
        if sites.fits(places):
            sites.put(places)
            if sites.fits(goal):
                sites.put(goal)
                if self._keep({unit: origin, other: were}, before):
                    return True
                sites.withdraw(origin)
                return False
            sites.withdraw(origin)
        sites.put(were)
        return False

    def _replace(self, unit, origin, places, gain):
        """Puts a unit, which is lifted, where single ones stand that find another place nearby."""
        sites, others = self.sites, set()
        for _, x, y, (kind, number) in places:
            tile = sites.tiles.get((x, y))
            if tile is None:
                return False
            # Also what would share a slot with it.
            beside = ((kind, number), ({"K": "FF", "FF": "K"}.get(kind, kind), number))
            others |= {sites.unit[tile[slot]] for slot in beside if slot in tile}
        if len(others) > _MOST_OCCUPANTS or any(not sites.single(other) for other in others):
            return False
        were = {other: sites.places(other) for other in others}
        costs = {other: self._cost(sites.members[other]) for other in others}
        before = self._cost(self._cells((unit, *others)))
        for other in others:
            sites.lift(other)
        settled = []
        if sites.fits(places):
            sites.put(places)
            for other in sorted(others, key=costs.get, reverse=True):
                if not self._settle(other, costs[other] + gain / 4 / len(others)):
                    break
                settled.append(other)
            if len(settled) == len(others):
                if self._keep({unit: origin, **were}, before):
                    return True
                sites.withdraw(origin)
                return False
            sites.withdraw(origin)
        self._undo(settled, were)
        return False

    def _settle(self, unit, most):
        """Puts a single unit, which is lifted, as near as its paths cost no more; whether there is such a place."""
        for columns, rows in _RING:
            places = self._free(unit, columns, rows)
            if places and self._cost(self.sites.members[unit], columns, rows) <= most:
                self.sites.put(places)
                return True
        return False

    def _free(self, unit, columns, rows):
        """Places that are free for a unit, which is lifted, that far from where it was; None if there are none."""
        return next(filter(self.sites.fits, self.sites.variants(unit, columns, rows)), None)

    def _move_group(self, unit):
        """Moves units that stand near each other on long paths: one alone would only lengthen the wire to the next."""
        sites = self.sites
        group = self._group(unit)
        if len(group) < 2:
            return False
        members = self._cells(group)
        here = self._cost(members)
        for cost, columns, rows in self._steps(members, _GROUP)[:3]:
            if cost >= here * (1 - 2 * _LEAST_GAIN):
                break
            were, settled = {one: sites.places(one) for one in group}, []
            for one in group:
                sites.lift(one)
            for one in group:
                places = next(filter(None, (self._free(one, columns + right, rows + down) for right, down in _RING)), None)
                if places is None:
                    break
                sites.put(places)
                settled.append(one)
            if len(settled) == len(group):
                if self._keep(were, here):
                    return True
                continue
            self._undo(settled, were)
        return False

    def _group(self, unit):
        packed, sites = self.packed, self.sites
        group, todo = [unit], [unit]
        while todo and len(group) < _GROUP:
            for cell, other in sorted(self._neighbours(sites.members[todo.pop(0)])):
                found = sites.unit[other]
                apart = abs(packed.x[cell] - packed.x[other]) + abs(packed.y[cell] - packed.y[other])
                if found not in group and apart <= _APART and len(group) < _GROUP and \
                        found not in sites.fixed and len(sites.members[found]) <= _GROUP:
                    group.append(found)
                    todo.append(found)
        return group
